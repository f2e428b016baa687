"""Spiders: one file for a source. A new source is a subclass of `base.ImageSpider` and one line here.

The classes are named, not imported, so that only a process that crawls pays for Scrapy.
"""

BUILT_IN = {
    "openverse": "collector.spiders.openverse.Openverse",
    "wikimedia": "collector.spiders.wikimedia.Wikimedia",
    "inaturalist": "collector.spiders.inaturalist.INaturalist",
    "met": "collector.spiders.met.Met",
    "gbif": "collector.spiders.gbif.Gbif",
    "internetarchive": "collector.spiders.internetarchive.InternetArchive",
    "openimages": "collector.spiders.openimages.OpenImages",
    "flickr": "collector.spiders.flickr.Flickr",
    "smithsonian": "collector.spiders.smithsonian.Smithsonian",
    "europeana": "collector.spiders.europeana.Europeana",
    "google": "collector.spiders.google.Google",
    "site": "collector.spiders.site.Site",
    "urls": "collector.spiders.urls.Urls",
}
"""name -> class of every source that comes with collect, in the order in which they are shown."""
