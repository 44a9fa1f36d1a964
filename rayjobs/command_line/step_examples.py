"""An example of every operation and analysis, as a job file writes it: for the reference, on pages and at the prompt.

The tests run each, and hold the names to those that there are.
"""

from __future__ import annotations

from collections.abc import Mapping

OPERATION_EXAMPLES: Mapping[str, str] = {
    "brightness_contrast": "brightness_contrast: {brightness: 0.05, contrast: 1.1}",
    "exposure": "exposure: {stops: 0.5}",
    "gamma": "gamma: {gamma: 0.8}",
    "levels": "levels: {in_black: 0.04, in_white: 0.96, gamma: 1.1}",
    "curves": "curves: {points: [[0, 0], [0.25, 0.2], [0.75, 0.82], [1, 1]]}",
    "invert": "invert",
    "sigmoid": "sigmoid: {cutoff: 0.45, gain: 6}",
    "autocontrast": "autocontrast: {low: 1, high: 99}",
    "equalize": "equalize",
    "clahe": "clahe: {clip_limit: 0.02, tiles: 8}",
    "hue_saturation": "hue_saturation: {hue: 10, saturation: 1.2}",
    "white_balance": "white_balance: {method: temperature, kelvin: 5600}",
    "color_balance": "color_balance: {lift: [0, 0, 0.03], gain: [1.05, 1, 0.97]}",
    "channel_mixer": "channel_mixer: {matrix: [[0.9, 0.1, 0], [0, 1, 0], [0, 0.2, 0.8]]}",
    "grayscale": "grayscale: {method: bt601}",
    "lut3d": "lut3d: {path: looks/warm.cube}",
    "gaussian": "gaussian: {sigma: 2}",
    "median": "median: {radius: 2}",
    "bilateral": "bilateral: {sigma_space: 3, sigma_color: 0.08}",
    "unsharp_mask": "unsharp_mask: {radius: 1.5, amount: 0.6, threshold: 0.01}",
    "background": "background: {method: rolling_ball, radius: 30, polarity: dark}",
    "denoise": "denoise: {method: nl_means, strength: 0.03}",
    "edges": "edges: {method: canny, sigma: 1.5, low: 0.1, high: 0.3}",
    "threshold": "threshold: {method: local, radius: 20, offset: 0.02}",
    "morphology": "morphology: {method: open, radius: 2, shape: disk}",
    "auto_orient": "auto_orient",
    "flip": "flip: {direction: vertical}",
    "resize": "resize: {max_side: 2048}",
    "crop": "crop: {ratio: [16, 9]}",
    "pad": "pad: {left: 16, top: 16, right: 16, bottom: 16}",
    "rotate": "rotate: {angle: 2.5}",
}
"""Operation -> how a job file writes it."""

ANALYSIS_EXAMPLES: Mapping[str, str] = {
    "color_histogram": "color_histogram: {luma: bt601}",
    "luma_waveform": "luma_waveform",
    "rgb_parade": "rgb_parade",
    "hue_histogram": "hue_histogram",
    "saturation_histogram": "saturation_histogram",
    "lab_chromaticity": "lab_chromaticity",
    "statistics": "statistics: {percentiles: [5, 50, 95]}",
    "sharpness": "sharpness",
    "noise": "noise",
    "texture": "texture: {levels: 16, distance: 2}",
    "objects": "objects: {polarity: dark, minimum_area: 40, properties: [area, circularity, feret_diameter]}",
    "image_hash": "image_hash: {method: phash, max_distance: 4}",
}
"""Analysis -> how a job file writes it."""
