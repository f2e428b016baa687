"""What a concept means in WordNet, and where pictures come from that are told apart by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collector import archives, wordnet
from collector.errors import CollectError, UsageError
from collector.negatives.config import NegativesConfig
from collector.negatives.ontology import Ontology
from collector.negatives.sources import check_imagen
from collector.negatives.words import context_words
from collector.records import Concept
from collector.workspace import Workspace

FOLDER = "give a folder: `collect negatives --folder DIR`, or set `negatives.imagen` to a copy of ImageN"


def folder_of(ws: Workspace, folder: Path | None, imagen: Path | None) -> tuple[str, Path | None]:
    """(source, folder) of the pictures to draw from: `folder`, or else ImageN; None where ImageN is not wanted.

    Raises:
        UsageError: the copy of ImageN is none.
        ServiceDown: ImageN cannot be fetched.
    """
    config = ws.section(NegativesConfig)
    if folder is not None:
        return "negatives", folder
    if imagen is not None or config.imagen:
        root = imagen or ws.root / config.imagen
        check_imagen(root, "--imagen" if imagen else ws.settings.origin_of("negatives.imagen"))
        return "imagen", root
    if not config.archive:
        return "imagen", None
    return "imagen", archives.unpacked(ws, "imagen", config.archive, _is_jpeg, FOLDER)


def understood(ws: Workspace, about: Concept, *, needed: bool) -> Ontology:
    """What WordNet knows of a concept's labels; of none, if one has no synset and none is `needed`.

    The dictionary is fetched if it is needed and neither installed nor replaced by the small table.

    Raises:
        UsageError: a label has no synset, and one is needed.
    """
    config, labels = ws.section(NegativesConfig), about.labels[:-1]
    words = wordnet.load(config.wordnet)
    lacking = [label for label in labels if _meaning(about, label, words) is None]
    if lacking and needed and not words.complete and config.wordnet_archive:
        try:
            words = wordnet.load(str(archives.unpacked(ws, "wordnet", config.wordnet_archive, _is_noun, "")))
        except CollectError as error:
            raise _unknown(about, labels, words, f"; {error}") from None
    if all(_meaning(about, label, words) for label in labels):
        return Ontology(words, {label: str(_meaning(about, label, words)) for label in labels})
    if needed:
        raise _unknown(about, labels, words)
    return Ontology(words, {})


def places(ws: Workspace, knows: Ontology) -> Mapping[str, str]:
    """Search words -> tier, for those that stand for usual places or junk."""
    config = ws.section(NegativesConfig)
    return dict.fromkeys(context_words(config, knows), "context") | dict.fromkeys(config.junk, "junk")


def _meaning(about: Concept, label: str, words: wordnet.WordNet) -> str | None:
    wnid = about.synsets.get(label) or words.first_meaning(label)
    return wnid if wnid and words.synset(wnid) else None


def _unknown(about: Concept, labels: tuple[str, ...], words: wordnet.WordNet, why: str = "") -> UsageError:
    label = next(label for label in labels if _meaning(about, label, words) is None)
    stated = f" {about.synsets[label]}" if label in about.synsets else ""
    return UsageError(
        f"no WordNet synset{stated} is known for `{label}`, so its kinds and parents cannot be told apart here{why}",
        hint=f'set `concepts.{about.name}.synsets = {{ {label} = "n01234567" }}` and install WordNet 3.0 '
        "(Debian: `apt-get install wordnet-base`)",
    )


def _is_jpeg(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg")) and not name.startswith(".")


def _is_noun(name: str) -> bool:
    return name in wordnet.FILES
