"""Spiders: one file for a source. A new source is a subclass of `base.ImageSpider` and one line here.

The classes are named, not imported, so that only a process that crawls pays for Scrapy.
"""

BUILT_IN = (
    ("openverse", "collector.spiders.openverse.Openverse"),
    ("wikimedia", "collector.spiders.wikimedia.Wikimedia"),
)
"""(name, class) of every source that comes with collect, in the order in which they are shown."""
