"""`collect demo`: the whole loop on one machine, with pictures that the demo draws and a site that it serves itself."""
