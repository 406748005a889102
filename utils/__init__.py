"""Helpers that know nothing of sketches, photos or retrieval."""
