"""Facts about this machine, each gathered where its failure harms no other."""
