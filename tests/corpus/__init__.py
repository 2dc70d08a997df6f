"""The judgement corpus: failures that operators of model serving know, each with what a good engineer would and would not do."""
