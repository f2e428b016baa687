"""Settings of everything that people do: sections `label` and `agreement` of config.toml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collector.config import Section

ConsensusMethod = Literal["majority", "dawid-skene", "one-coin", "crowdlab"]
Order = Literal["random", "uncertain", "disputed", "diverse", "next"]


class LabelConfig(Section):
    """How pictures are given to people."""

    section = "label"
    url: str = Field(
        "", pattern=r"^(https?://[^\s?#]+)?$", description="a Label Studio that runs already; empty: our own"
    )
    host: str = Field(
        "127.0.0.1", pattern=r"^\d+(\.\d+){3}$", description="IPv4 address that Label Studio listens on; 0.0.0.0: all"
    )
    port: int = Field(8330, ge=1, le=65535, description="port of Label Studio")
    names: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+$")], ...] = Field(
        (), description="more names by which browsers reach Label Studio, as behind a server that adds TLS"
    )
    database: str = Field("", description="postgresql:// URL of Label Studio's database; empty: SQLite inside `data`")
    backend_port: int = Field(
        8331, ge=1, le=65535, description="port of `collect label backend`, all that Label Studio may connect to"
    )
    annotators: tuple[str, ...] = Field(
        ("me",), min_length=1, description="who labels, names or e-mail addresses; `me` is the administrator"
    )
    overlap: int = Field(2, ge=1, description="how many annotators see each picture")
    max_overlap: int = Field(5, ge=2, description="how many annotators may answer a disputed picture")
    blind: bool = Field(
        True, description="nobody sees another's answers; false: one project for all, blind by workflow only"
    )
    guideline: str = Field(
        "",
        description='what annotators are told; empty: one written for you; "- ", **bold**, *italic* and `code` work',
    )
    template: str = Field("", description="file with an own labeling page, Label Studio's XML; empty: ours")
    preview_above: int = Field(
        1_000_000, ge=0, description="pages show a preview of originals larger than this, in bytes, and link to those"
    )
    no_proposal_share: float = Field(
        0.1, ge=0, le=1, description="share of a proposal round that is shown without a proposal"
    )
    max_seconds: float = Field(300.0, gt=0, description="longer answers count as this, in seconds")
    start_timeout: float = Field(180.0, gt=0, description="how long to wait for Label Studio to answer, in seconds")


class AgreementConfig(Section):
    """How agreement is measured and several answers become one label."""

    section = "agreement"
    method: ConsensusMethod = Field(
        "majority",
        description="how answers become one label: majority (a tie stays open), dawid-skene, one-coin or crowdlab",
    )
    draws: int = Field(1000, ge=100, description="bootstrap draws over images behind each 95 % interval")
    minimum: float = Field(
        0.667, ge=-1, le=1, description="smallest alpha to train on without --accept-ceiling (Krippendorff, 2004)"
    )
    target: float = Field(0.8, ge=-1, le=1, description="alpha from which on labels count as reliable")
    hourly_rate: float = Field(0.0, ge=0, description="what an hour of labeling costs, in your currency; 0: hours only")
    min_tasks: int = Field(30, ge=1, description="warn when fewer images than this were labeled twice")
    max_share: float = Field(0.8, gt=0, le=1, description="warn when one annotator gave more than this share")
    fast_seconds: float = Field(0.5, ge=0, description="count answers below this as not looked at, in seconds")
