"""How a page is drawn: templates, charts, and a folder of finished files. What stands on it is in `reports`."""
