"""Figures for TensorBoard, where the `track` extra is installed.

The catalog is the record: a tracker never stops a run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any


def write_events(folder: Path, figures: dict[str, Any]) -> None:
    """Write the plain numbers of a run into the run folder as a TensorBoard event file."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        return
    try:
        writer = EventFileWriter(str(folder))
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in figures.items()
            if isinstance(value, int | float)
        ]
        writer.add_event(Event(step=0, summary=Summary(value=values)))
        writer.close()
    except Exception as error:
        logging.getLogger(__name__).warning("no TensorBoard file in %s: %s", folder, error)
