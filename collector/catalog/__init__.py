"""The record book: the only code that opens the database."""

from collector.catalog.database import Catalog, now

__all__ = ["Catalog", "now"]
