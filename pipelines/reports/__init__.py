"""The HTML report: one self-contained site for each concept, made from the catalog, the store and the run folders."""
