"""Actions in a panel: the bar with its buttons, and the form that confirms a plan."""
