"""What is said of photos: by names and folders, by sheets, by what lies beside them."""
