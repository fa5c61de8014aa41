"""What every panel is made of: its frame and head, the refresher, the quiet source, and what runs apart."""
