"""What visualizers share: layers, targets, attribution, maps and their checks, units, synthesis."""
