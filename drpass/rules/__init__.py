"""Rules: anchors say what can become a DeepReuseGemm; the others say what such a node can absorb."""
