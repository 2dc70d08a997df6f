"""What keeps healer from harm: guards, storms, budgets, breakers, and what they count."""
