"""Components of one hospital for cdsframe; `configs/` has an option for each."""
