"""What of a host can be mended: proposals, plan, change and proof."""
