"""Settings of the negatives, `[negatives]`, and the tiers that they are drawn from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.config import Section

TIERS = {
    "near": "close to the concept: shares three quarters of its line of parents in WordNet, or people said it is none",
    "mid": "shares two fifths of that line: other animals, other tools",
    "far": "shares less of it",
    "context": "the usual places of the concept, without it",
    "junk": "screenshots, drawings, logos, text: what a crawl is full of",
    "given": "from a folder that was named as negative, without a tier",
}
QUOTED = tuple(TIERS)[:-1]
FILL = ("given", "far", "mid", "near", "context", "junk")
"""What one tier cannot give is taken from these, in this order."""


class QuotasConfig(BaseModel):
    """Percent of the negatives that should come from each tier; together 100."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    near: float = Field(30, ge=0, le=100, description=TIERS["near"])
    mid: float = Field(20, ge=0, le=100, description=TIERS["mid"])
    far: float = Field(30, ge=0, le=100, description=TIERS["far"])
    context: float = Field(15, ge=0, le=100, description=TIERS["context"])
    junk: float = Field(5, ge=0, le=100, description=TIERS["junk"])

    def of(self, wanted: int) -> dict[str, int]:
        """How many of `wanted` negatives each tier should give: whole numbers that sum to it (largest remainders)."""
        exact = {tier: wanted * getattr(self, tier) / 100 for tier in QUOTED}
        whole = {tier: int(share) for tier, share in exact.items()}
        for tier in sorted(QUOTED, key=lambda tier: whole[tier] - exact[tier])[: wanted - sum(whole.values())]:
            whole[tier] += 1
        return whole


class NegativesConfig(Section):
    """Where negatives come from and how many there should be."""

    section = "negatives"
    imagen: str = Field(
        "", description="folder of ImageN, relative to config.toml; empty: fetched once from its public archive"
    )
    archive: str = Field(
        "https://github.com/ajschumacher/imagen/archive/refs/heads/master.zip",
        description="ImageN's public archive; empty: do without ImageN",
    )
    ratio: float = Field(1.0, gt=0, description="negatives wanted for each positive")
    per_source: float = Field(1.0, gt=0, le=1, description="largest share of the negatives from one source")
    per_creator: int = Field(10, ge=0, description="most negatives by one creator; 0: no bound")
    context: tuple[str, ...] = Field((), description="search words for the usual places; empty: found in WordNet")
    junk: tuple[str, ...] = Field(
        ("screenshot", "diagram", "logo", "document", "poster"), description="search words for junk"
    )
    wordnet: str = Field("", description="folder with WordNet 3.0's data.noun; empty: the usual places")
    wordnet_archive: str = Field(
        "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/packages/corpora/wordnet.zip",
        description="WordNet 3.0, fetched once where it is needed and not installed; empty: never",
    )
    quotas: QuotasConfig = QuotasConfig()

    @field_validator("quotas")
    @classmethod
    def _whole(cls, value: QuotasConfig) -> QuotasConfig:
        total = sum(getattr(value, tier) for tier in QUOTED)
        if abs(total - 100) > 1e-6:
            raise ValueError(f"the quotas of all tiers must sum to 100, not {total:g}")
        return value
