"""One experiment a file; get_config(arg) gives its variants."""
