"""What several actions need."""
