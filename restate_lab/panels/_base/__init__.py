"""The base of all panels: the frame and toolbar, the refresher, the source, and actions in the background."""
