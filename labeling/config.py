"""Settings of everything that people do: sections `label` and `agreement` of config.toml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from collector.config import Section

ConsensusMethod = Literal["majority", "dawid-skene"]


class LabelConfig(Section):
    """How pictures are given to people."""

    section = "label"
    port: int = Field(8330, ge=1, le=65535, description="port of Label Studio on 127.0.0.1")
    annotators: tuple[str, ...] = Field(
        ("me",), min_length=1, description="who labels, names or e-mail addresses; `me` is the administrator"
    )
    overlap: int = Field(2, ge=1, description="how many annotators see each picture")
    guideline: str = Field("", description="what annotators are told, plain text; empty: one written for you")
    no_proposal_share: float = Field(
        0.1, ge=0, le=1, description="share of a proposal round that is shown without a proposal"
    )
    max_seconds: float = Field(300.0, gt=0, description="longer answers count as this, in seconds")
    start_timeout: float = Field(180.0, gt=0, description="how long to wait for Label Studio to answer, in seconds")


class AgreementConfig(Section):
    """How agreement is measured and several answers become one label."""

    section = "agreement"
    method: ConsensusMethod = Field(
        "majority", description="how answers become one label: majority (a tie stays open) or dawid-skene"
    )
    draws: int = Field(1000, ge=100, description="bootstrap draws over images behind each 95 % interval")
    min_tasks: int = Field(30, ge=1, description="warn when fewer images than this were labeled twice")
    max_share: float = Field(0.8, gt=0, le=1, description="warn when one annotator gave more than this share")
    fast_seconds: float = Field(0.5, ge=0, description="count answers below this as not looked at, in seconds")
