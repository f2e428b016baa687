"""Which copies of a picture are found here, beside imagehash, imagededup and PDQ: the targets of issue 4.

    uv run python benchmarks/copies.py [--pictures DIR] [--sources 200] [--folder DIR] [--pool N] [--out FILE]

57 transforms (re-compressed, resized, cropped, turned, framed, captioned, in a collage, ...) of each source. Positives
are a source and a transform of itself; every other pair of a source and a transform is a negative. All methods get the
same files. A peer gets its best threshold without a false pair, found on these very pairs; ours are those that dedup
takes for a pool of this size. Recall is the share of positives found.
The peers run in environments of their own, made by `uv`. Sources are every fifth file of `--pictures`, sorted by name,
or parts of scikit-image's pictures. Pictures and hashes stay in `--folder` for the next run. With `--pool` the step
itself runs instead, over a catalog of so many images (benchmarks/planted.py); its figures are added to `--out`.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import planted
from numpy.typing import NDArray
from peers import python_with
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from collector import fingerprints
from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.dedup import DedupConfig, thresholds, visual_words
from collector.dedup.geometry import Points, extract, verify
from collector.fingerprints import DCT, PHASH, PIXELS

PEERS = {"imagehash": "4.3.2", "imagededup": "0.3.3.post2", "pdqhash": "0.2.8"}
Transform = Callable[[Image.Image, Image.Image, np.random.Generator], Image.Image]
Found = NDArray[np.bool_]  # (source, copy): the method says that one is a copy of the other


# -- the transforms -------------------------------------------------------------------------------------------------


def encoded(picture: Image.Image, quality: int, format_: str = "JPEG") -> Image.Image:
    """The picture after a trip through a file."""
    buffer = io.BytesIO()
    picture.save(buffer, format_, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def resized(picture: Image.Image, x: float, y: float | None = None) -> Image.Image:
    """Scaled by a factor in x and in y."""
    size = (max(1, round(picture.width * x)), max(1, round(picture.height * (x if y is None else y))))
    return picture.resize(size, Image.Resampling.LANCZOS)


def thumbnail(picture: Image.Image, side: int) -> Image.Image:
    """Scaled so that the longer side has so many pixels."""
    return resized(picture, side / max(picture.size))


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """The middle, with this share of the width and of the height."""
    x, y = round(picture.width * (1 - share) / 2), round(picture.height * (1 - share) / 2)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def cropped_anywhere(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """A part of 7/8 of the width and of the height, anywhere."""
    width, height = round(picture.width * 0.875), round(picture.height * 0.875)
    x, y = (int(random.integers(0, n + 1)) for n in (picture.width - width, picture.height - height))
    return picture.crop((x, y, x + width, y + height))


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    """Rotated on a black ground that holds all of it."""
    return picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True)


def gamma(picture: Image.Image, power: float) -> Image.Image:
    """Gray levels raised to a power."""
    return picture.point([round(255 * (i / 255) ** power) for i in range(256)] * 3)


def hue(picture: Image.Image, degrees: float) -> Image.Image:
    """Hues turned."""
    h, s, v = picture.convert("HSV").split()
    shifted = h.point([(i + round(degrees / 360 * 256)) % 256 for i in range(256)])
    return Image.merge("HSV", (shifted, s, v)).convert("RGB")


def noisy(picture: Image.Image, sigma: float, random: np.random.Generator) -> Image.Image:
    """Gaussian noise on each channel."""
    pixels = np.asarray(picture, dtype=np.float32)
    noise = random.standard_normal(pixels.shape, dtype=np.float32) * sigma
    return Image.fromarray((pixels + noise).round().clip(0, 255).astype(np.uint8))


def framed(picture: Image.Image, share: float, color: str) -> Image.Image:
    """With a border of a share of the longer side."""
    return ImageOps.expand(picture, round(max(picture.size) * share), color)


def letterboxed(picture: Image.Image) -> Image.Image:
    """On a black square."""
    return ImageOps.pad(picture, (max(picture.size),) * 2, color="black")


def captioned(picture: Image.Image, share: float) -> Image.Image:
    """A white strip with a line of text over the bottom."""
    changed = picture.copy()
    height = round(picture.height * share)
    draw = ImageDraw.Draw(changed)
    draw.rectangle((0, picture.height - height, picture.width, picture.height), "white")
    font = ImageFont.load_default(height * 0.5)
    draw.text((picture.width / 2, picture.height - height / 2), "when it is Monday again", "black", font, "mm")
    return changed


def watermarked(picture: Image.Image, alpha: int) -> Image.Image:
    """Text all over."""
    layer = Image.new("RGBA", picture.size)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(max(picture.size) / 16)
    for row, y in enumerate(range(0, picture.height, max(1, max(picture.size) // 8))):
        for x in range(-(row % 2) * picture.width // 6, picture.width, max(1, picture.width // 3)):
            draw.text((x, y), "SAMPLE", (255, 255, 255, alpha), font)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def with_logo(picture: Image.Image, share: float) -> Image.Image:
    """A red disk with a letter in a corner."""
    changed = picture.copy()
    side = round(min(picture.size) * share)
    x, y = picture.width - side - 4, picture.height - side - 4
    draw = ImageDraw.Draw(changed)
    draw.ellipse((x, y, x + side, y + side), (220, 20, 30))
    draw.text((x + side / 2, y + side / 2), "R", "white", ImageFont.load_default(side * 0.7), "mm")
    return changed


def reposted(picture: Image.Image) -> Image.Image:
    """Smaller, cropped a little and saved again."""
    return encoded(cropped(resized(picture, 0.6), 0.97), 50)


def screenshot(picture: Image.Image) -> Image.Image:
    """Cropped a little, framed, smaller and saved again."""
    return encoded(resized(framed(cropped(picture, 0.95), 0.03, "white"), 0.8), 70)


def collage(picture: Image.Image, other: Image.Image) -> Image.Image:
    """Beside another picture of the same height."""
    both = Image.new("RGB", (picture.width * 2, picture.height))
    both.paste(picture, (0, 0))
    both.paste(other.resize(picture.size, Image.Resampling.LANCZOS), (picture.width, 0))
    return both


def plain(change: Callable[[Image.Image], Image.Image]) -> Transform:
    """A transform that needs the picture only."""
    return lambda picture, _other, _random: change(picture)


FLIP, BOTTOM_UP = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM
TRANSFORMS: dict[str, Transform] = {
    **{f"JPEG {q}": plain(partial(encoded, quality=q)) for q in (90, 75, 50, 30, 15, 8)},
    "WebP 80": plain(partial(encoded, quality=80, format_="WEBP")),
    **{f"resize {x}": plain(partial(resized, x=x)) for x in (0.5, 0.25, 2.0)},
    "thumbnail 150, JPEG 60": plain(lambda p: encoded(thumbnail(p, 150), 60)),
    "thumbnail 64": plain(partial(thumbnail, side=64)),
    "aspect 1:1": plain(lambda p: p.resize((min(p.size),) * 2, Image.Resampling.LANCZOS)),
    "width x 0.8": plain(partial(resized, x=0.8, y=1.0)),
    **{f"crop {x}": plain(partial(cropped, share=x)) for x in (0.98, 0.95, 0.9, 0.8, 0.7, 0.5)},
    "crop 0.875 anywhere": lambda p, _, random: cropped_anywhere(p, random),
    "bottom 10 % off": plain(lambda p: p.crop((0, 0, p.width, round(p.height * 0.9)))),
    "mirrored": plain(lambda p: p.transpose(FLIP)),
    "upside down": plain(lambda p: p.transpose(BOTTOM_UP)),
    **{f"rotated {x}": plain(partial(turned, degrees=x)) for x in (90, 180, 2, 5, 25)},
    "gray": plain(lambda p: p.convert("L").convert("RGB")),
    **{f"brightness {x}": plain(lambda p, x=x: ImageEnhance.Brightness(p).enhance(x)) for x in (0.6, 1.4)},
    **{f"contrast {x}": plain(lambda p, x=x: ImageEnhance.Contrast(p).enhance(x)) for x in (0.6, 1.5)},
    **{f"gamma {x}": plain(partial(gamma, power=x)) for x in (0.6, 1.6)},
    "saturation 2": plain(lambda p: ImageEnhance.Color(p).enhance(2)),
    "hue +30 degrees": plain(partial(hue, degrees=30)),
    **{f"blur {x}": plain(lambda p, x=x: p.filter(ImageFilter.GaussianBlur(x))) for x in (1, 2, 4)},
    "sharpened": plain(lambda p: p.filter(ImageFilter.UnsharpMask())),
    **{f"noise {x}": lambda p, _, random, x=x: noisy(p, x, random) for x in (10, 25)},
    "border 5 %, white": plain(partial(framed, share=0.05, color="white")),
    "border 10 %, black": plain(partial(framed, share=0.1, color="black")),
    "letterbox": plain(letterboxed),
    **{f"caption {x:.0%}": plain(partial(captioned, share=x)) for x in (0.12, 0.25)},
    **{f"watermark, alpha {x}": plain(partial(watermarked, alpha=x)) for x in (80, 160)},
    **{f"logo {x:.0%}": plain(partial(with_logo, share=x)) for x in (0.15, 0.3)},
    "repost": plain(reposted),
    "screenshot": plain(screenshot),
    "mirrored repost": plain(lambda p: reposted(p.transpose(FLIP))),
    "collage 2 x 1": lambda p, other, _: collage(p, other),
}


# -- the pictures ---------------------------------------------------------------------------------------------------


def originals(pictures: Path | None, number: int) -> list[tuple[Path, tuple[float, float, float, float]]]:
    """Twice as many originals as there are sources, as (file, part of it in shares): each source and its neighbor."""
    whole = (0.0, 0.0, 1.0, 1.0)
    if pictures:
        files = sorted(path for path in pictures.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        picked = [(files[i], files[i + 2 if i + 2 < len(files) else i - 2]) for i in range(0, len(files), 5)][:number]
        return [(path, whole) for pair in picked for path in pair]
    from skimage import data

    names = (
        "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "hubble_deep_field.jpg", "ihc.png",
        "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg",
    )  # fmt: skip
    folder = Path(data.__file__).parent
    thirds = [(x / 3, y / 3, (x + 1) / 3, (y + 1) / 3) for y, x in product(range(3), repeat=2)]
    return [(folder / name, part) for name in names for part in thirds][: 2 * number]


def opened(path: Path, part: tuple[float, float, float, float]) -> Image.Image:
    """A part of a picture, in RGB."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    return picture.crop(tuple(round(x * side) for x, side in zip(part, picture.size * 2, strict=True)))


def make(folder: Path, i: int, source: tuple[Path, object], other: tuple[Path, object]) -> None:
    """Write a source and its copies; a copy is a JPEG of quality 95, as files that travel are."""
    if (folder / "sources" / f"{i:03d}.png").exists():
        return
    picture, neighbor = opened(*source), opened(*other)
    for t, change in enumerate(TRANSFORMS.values()):
        copy = change(picture, neighbor, np.random.default_rng([i, t]))
        copy.save(folder / "copies" / f"{i:03d}-{t:02d}.jpg", quality=95, subsampling=0)
    picture.save(folder / "sources" / f"{i:03d}.png", compress_level=1)


def prepare(folder: Path, pictures: Path | None, number: int) -> int:
    """Make all pictures that are not there yet; returns the number of sources."""
    for name in ("sources", "copies"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    given = originals(pictures, number)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(partial(make, folder), range(len(given) // 2), given[::2], given[1::2]))
    return len(given) // 2


# -- the methods ----------------------------------------------------------------------------------------------------


PEER = """
import json, os, sys
import numpy as np
from PIL import Image

def of_folder(folder):
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))]

def bits(rows):
    return np.array(rows, dtype=bool).reshape(len(rows), -1)

def save(hashes):
    np.savez(sys.argv[1], **{f"{name} {side}": bits(rows) for (name, side), rows in hashes.items()})

hashes = {}
for side, folder in zip(("sources", "copies"), sys.argv[2:]):
    HASH
save(hashes)
"""
HASHES = {
    "imagehash": """
    import imagehash
    for path in of_folder(folder):
        picture = Image.open(path).convert("RGB")
        for name, hashed in (
            ("phash", imagehash.phash(picture)), ("dhash", imagehash.dhash(picture)),
            ("phash 16 x 16", imagehash.phash(picture, hash_size=16)),
        ):
            hashes.setdefault((name, side), []).append(hashed.hash)
""",
    "imagededup": """
    from imagededup.methods import DHash, PHash
    for name, method in (("PHash", PHash(verbose=False)), ("DHash", DHash(verbose=False))):
        found = method.encode_images(image_dir=folder, num_enc_workers=0)
        for path in of_folder(folder):
            text = found[os.path.basename(path)]
            hashes.setdefault((name, side), []).append([int(bit) for digit in text for bit in f"{int(digit, 16):04b}"])
""",
    "pdqhash": """
    import pdqhash
    for path in of_folder(folder):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        if side == "sources":
            hashed, _ = pdqhash.compute_dihedral(pixels)
            hashes.setdefault(("PDQ", side), []).append(hashed[0])
            hashes.setdefault(("PDQ, 8 forms", side), []).append(hashed)
        else:
            hashed, _ = pdqhash.compute(pixels)
            hashes.setdefault(("PDQ", side), []).append(hashed)
            hashes.setdefault(("PDQ, 8 forms", side), []).append(hashed)
""",
}
DEFAULTS = {"imagededup PHash": 10, "imagededup DHash": 10, "pdqhash PDQ": 31}


def distances(name: str, folder: Path) -> dict[str, NDArray[np.int16]]:
    """The Hamming distances (source, copy) of each hash of a peer."""
    kept = folder / f"{name}-{PEERS[name]}.npz"
    if not kept.exists():
        script = PEER.replace("    HASH", HASHES[name].strip("\n"))
        folders = [str(folder / "sources"), str(folder / "copies")]
        python = python_with(name, f"{name}=={PEERS[name]}", "pillow", "numpy")
        subprocess.run([str(python), "-c", script, str(kept), *folders], check=True)
    with np.load(kept) as file:
        hashes = dict(file)
    return {
        f"{name} {each.removesuffix(' sources')}": hamming(hashes[each], hashes[each.replace("sources", "copies")])
        for each in hashes
        if each.endswith(" sources")
    }


def hamming(sources: Found, copies: Found) -> NDArray[np.int16]:
    """Distances of bits (sources, n) and (copies, bits); where n is several times `bits`, the least of the forms."""
    wide = copies.shape[1]
    one = copies.astype(np.float32)
    forms = sources.reshape(len(sources), -1, wide).transpose(1, 0, 2).astype(np.float32)
    every = [form.sum(axis=1)[:, None] + one.sum(axis=1)[None] - 2 * form @ one.T for form in forms]
    return np.min(every, axis=0).round().astype(np.int16)


class Ours(NamedTuple):
    """What dedup would know of some pictures."""

    prints: dict[str, list[str]]
    quality: NDArray[np.float64]
    points: list[Points]
    mirrored: list[Points]


def known(folder: Path, *, mirrored: bool) -> Ours:
    """Fingerprints and points of the pictures of a folder, made as intake and the cache of points make them."""
    cv2.setNumThreads(1)

    def one(path: Path) -> tuple[fingerprints.Thumb, Points, Points | None]:
        data = path.read_bytes()
        decoded = decode(data, IntakeConfig(min_side=1))
        assert isinstance(decoded, Decoded), decoded
        seen = Image.open(io.BytesIO(decoded.preview or data)).convert("L")
        gray = np.asarray(seen)
        flipped = extract(np.ascontiguousarray(gray[:, ::-1])) if mirrored else None
        return decoded.thumb, extract(gray), flipped

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, sorted(folder.iterdir())))
    prints = fingerprints.fingerprints([each[0] for each in found])
    return Ours(
        {each.algorithm: [row[k].value for row in prints] for k, each in enumerate(prints[0])},
        np.array([row[1].quality for row in prints]),
        [each[1] for each in found],
        [each[2] for each in found if each[2] is not None],
    )


def cascade(folder: Path) -> tuple[dict[str, Found], str]:
    """What dedup's steps find, with `geometry = "all"`: by pixels and hashes, then all of it."""
    begun = time.process_time()
    sources, copies = known(folder / "sources", mirrored=True), known(folder / "copies", mirrored=False)
    pictures = len(sources.points) + len(copies.points)
    said = [f"reading, hashing and points {1e3 * (time.process_time() - begun) / pictures:.1f} ms a picture"]
    config = DedupConfig()
    wanted = thresholds.Wanted(config.threshold, config.threshold_dct, config.max_false_pairs, config.candidates)
    chances = (thresholds.REFERENCE_64, thresholds.REFERENCE_256)
    limits = thresholds.limits(chances, pictures, pictures * (pictures - 1) / 2, wanted)
    said.append(
        f"thresholds {limits.phash} bits of 64 and {limits.dct} of 256, "
        f"grey up to {limits.grey_phash} and {limits.grey_dct}"
    )
    matched = (sources.quality >= config.min_quality)[:, None] & (copies.quality >= config.min_quality)[None]
    pixels = np.equal.outer(np.array(sources.prints[PIXELS]), np.array(copies.prints[PIXELS]))
    a, b = (fingerprints.pack(each.prints[PHASH]) for each in (sources, copies))
    phash = np.bitwise_count(a[:, None] ^ b[None])
    a, b = (fingerprints.pack(each.prints[DCT]) for each in (sources, copies))
    forms = (np.bitwise_count(form[:, None] ^ b[None]).sum(axis=2, dtype=np.int16) for form in fingerprints.dihedral(a))
    dct = np.minimum.reduce(list(forms))
    sure = pixels | matched & ((phash <= limits.phash) | (dct <= limits.dct))
    open_ = matched & ((phash <= limits.grey_phash) | (dct <= limits.grey_dct))
    begun = time.process_time()
    rest = np.flatnonzero(~sure.any(axis=0))  # a copy that hashes have settled needs no points
    for side in (sources.points, sources.mirrored):
        shared = visual_words.candidates_between(side, [copies.points[j] for j in rest])
        open_[shared.first, rest[shared.second]] = True
    said.append(f"candidates by points {time.process_time() - begun:.1f} s")
    begun = time.process_time()
    asked = np.argwhere(open_ & ~sure).tolist()
    every = sure.copy()
    for i, j in asked:
        every[i, j] = (
            verify(sources.points[i], copies.points[j]).same or verify(sources.mirrored[i], copies.points[j]).same
        )
    said.append(
        f"{len(asked)} pairs verified, {1e3 * (time.process_time() - begun) / max(1, len(asked)):.1f} ms a pair"
    )
    return {"collect, hashes only": sure, "collect": every}, "; ".join(said)


# -- the table ------------------------------------------------------------------------------------------------------


def own(found: NDArray[np.generic]) -> Found:
    """Which pairs (source, copy) are positives."""
    sources, copies = found.shape
    return np.arange(sources)[:, None] == np.arange(copies)[None] // (copies // sources)


def without_false(away: NDArray[np.int16]) -> int:
    """The largest threshold without a false pair."""
    return int(away[~own(away)].min()) - 1


def table(found: dict[str, Found]) -> list[str]:
    """Recall of each transform in percent, the mean, and the false pairs."""
    recall = {name: hits[own(hits)].reshape(-1, len(TRANSFORMS)).mean(axis=0) for name, hits in found.items()}
    rows = ["| transform | " + " | ".join(found) + " |", "| --- |" + " ---: |" * len(found)]
    for t, transform in enumerate(TRANSFORMS):
        rows.append(f"| {transform} | " + " | ".join(f"{100 * each[t]:.1f}" for each in recall.values()) + " |")
    rows.append("| **mean** | " + " | ".join(f"**{100 * each.mean():.1f}**" for each in recall.values()) + " |")
    rows.append(
        "| **false pairs** | " + " | ".join(str(int((hits & ~own(hits)).sum())) for hits in found.values()) + " |"
    )
    return rows


def misses(hits: Found) -> list[str]:
    """The transforms below 90 %, and the sources whose copies are missed most."""
    missed = ~hits[own(hits)].reshape(-1, len(TRANSFORMS))
    low = [
        f"{name} ({1 - share:.0%})" for name, share in zip(TRANSFORMS, missed.mean(axis=0), strict=True) if share > 0.1
    ]
    worst = np.argsort(-missed.sum(axis=1), kind="stable")[:5]
    return [
        f"Below 90 %: {', '.join(low) or 'none'}.",
        f"{int(missed.sum())} of {missed.size} copies missed; most of source "
        + ", ".join(f"{i} ({missed[i].sum()})" for i in worst.tolist()) + ".",
    ]  # fmt: skip


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--pool", type=int)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    scratch = Path(tempfile.gettempdir())
    which = "given" if chosen.pictures else "skimage"
    folder = chosen.folder or scratch / f"collect-benchmark-copies-{which}-{chosen.sources}"
    sources = prepare(folder, chosen.pictures, chosen.sources)
    if chosen.pool:
        text = "\n".join(planted.measure(folder, list(TRANSFORMS), chosen.pool)) + "\n"
        print(text)
        if chosen.out:
            before = chosen.out.read_text(encoding="utf-8") if chosen.out.exists() else ""
            chosen.out.write_text(f"{before.partition('## Planted pool')[0].rstrip()}\n\n{text}", encoding="utf-8")
        return
    found, said = cascade(folder)
    for name in PEERS:
        for method, away in distances(name, folder).items():
            limit = without_false(away)
            found[f"{method} <= {limit}"] = away <= limit
            if method in DEFAULTS:
                found[f"{method} <= {DEFAULTS[method]} (default)"] = away <= DEFAULTS[method]
    pairs = sources * (sources - 1) * len(TRANSFORMS)
    names = ("opencv-python-headless", "pillow", "numpy")
    lines = [
        "# Copies found, beside peers\n",
        f"{sources} sources x {len(TRANSFORMS)} transforms; {pairs:,} negative pairs. Recall in percent; peers at "
        "their best threshold without a false pair on these pairs, and at their default.\n",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in names)}.\n",
        f"collect: {said}.\n",
        f"Command: `uv run python benchmarks/copies.py {'--pictures ... ' if chosen.pictures else ''}"
        f"--sources {chosen.sources}`\n",
        *table(found),
        "",
        "Missed by collect: " + " ".join(misses(found["collect"])),
    ]
    print("\n".join(lines))
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
