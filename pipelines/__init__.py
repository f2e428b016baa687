"""Everything that needs both images and judgement: snapshots, training, proposals, reports, the command line."""
