"""The base of the panel: its frame and toolbar, the refresher, the panel's source, and actions in the background."""
