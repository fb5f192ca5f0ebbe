"""box score: prototype."""
import argparse, sys
from pathlib import Path
import numpy as np, torch
from mannequins.surface_training.renders import render_item
from mannequins.surface_training.train import ready, Batch, Steps
from repose import checkpoint, systems
from repose.data.frame import Frame
from repose.models.surface import SurfaceGenerator, SurfaceSettings

def load(state, which='ema'):
    s = torch.load(state, weights_only=True); net = SurfaceGenerator(SurfaceSettings()); net.load_state_dict(s[which]); return net.eval().requires_grad_(False), s['step']

def export(state, path, which='ema', size='256'):
    """A checkpoint in half precision; at 256x176 the networks see half of the size."""
    from repose.config import build
    height, width, reduce = {'256': (256, 176, 2), '128': (128, 88, 1)}[size]
    row = systems.row({'kind': 'surface', 'steps': 1, 'generator': {'reduce': reduce}, 'losses': {'adversarial_image': 0, 'adversarial_pose': 0}}, 'surface')
    frame = build(Frame, {'height': height, 'width': width, 'crop': [40, 0, 216, 256]}, 'frame')
    system = systems.build(row, frame)
    net, step = load(state, which)
    system.networks['generator'].load_state_dict(net.state_dict())
    system.networks['generator'].half()
    checkpoint.save(path, system, checkpoint.About('surface', row, frame, 4.0 * reduce, step, 'surface', (256, 256)), to_resume=False)

def geometry(net, items=60, seed=990):
    steps = Steps(seed, items, 1, 3, (128, 88), plain=True)
    errors, within, alphas = {}, {}, []
    bins = ((0, 30), (30, 75), (75, 120), (120, 180.1))
    ious = []
    for step in range(items):
        item = render_item(seed, step, 3, 128, 88, plain=True)
        v = item.views
        b = Batch(*[torch.from_numpy(np.stack(x)) for x in (
            [q.pixels for q in v], [q.keypoints for q in v], [q.alpha for q in v], [q.surface for q in v], [q.parts for q in v],
            [[1], [2], [0]], [item.flow(s, t)[0][None] for t, s in ((0, 1), (1, 2), (2, 0))], [item.flow(s, t)[1][None] for t, s in ((0, 1), (1, 2), (2, 0))])])
        r = ready(b)
        with torch.no_grad():
            made = net.make(net.encode(r.images, r.poses, r.sources, r.mask), r.poses)
        size = torch.tensor([88., 128.])[:, None, None]
        e = (((made.matched.flow[:, :1] + 1) * size / 2 - .5) - b.flow).square().sum(2).sqrt()
        for t, s in ((0, 1), (1, 2), (2, 0)):
            d = abs((v[t].yaw - v[s].yaw + 180) % 360 - 180)
            k = next(i for i, (lo, hi) in enumerate(bins) if lo <= d < hi)
            errors.setdefault(k, []).append(e[t][b.sight[t]].numpy())
        got, true = made.alpha[:, 0] > 0, r.alpha[:, 0] > .5
        part = (made.matched.target.parts.argmax(1) != 16).repeat_interleave(4, 1).repeat_interleave(4, 2)
        for x in range(3):
            ious.append([float((m[x] & true[x]).sum() / (m[x] | true[x]).sum()) for m in (got, part)])
    for k in sorted(errors):
        e = np.concatenate(errors[k]); print(f'yaw {bins[k][0]}-{bins[k][1]:.0f}: pairs {len(errors[k])} median {np.median(e):.2f} px, within 2 px {np.mean(e < 2):.2f}, within 4 {np.mean(e < 4):.2f}')
    e = np.concatenate([x for v in errors.values() for x in v]); print(f'all: median {np.median(e):.2f}, mean {e.mean():.2f}; IoU alpha {np.mean(ious, 0)[0]:.3f} parts {np.mean(ious, 0)[1]:.3f}')

if __name__ == '__main__':
    torch.set_num_threads(1)
    a = sys.argv
    if a[1] == 'export': export(a[2], Path(a[3]), *a[4:])
    else:
        net, step = load(a[2], *a[3:]); print("step", step); geometry(net, 25)
