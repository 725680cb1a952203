"""Drawing that plugins share: tables of tiles, thumbnails, dots with intervals."""
