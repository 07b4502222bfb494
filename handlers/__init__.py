"""Handlers of the sample team; of this project they import only ``nsqkit``."""
