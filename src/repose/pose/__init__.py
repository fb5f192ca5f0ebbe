"""Joints of people: keypoint files, and networks that find joints in photos."""
