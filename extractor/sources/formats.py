"""Which files are photos, by their names and first bytes."""

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
# Files with these endings are taken for photos without a look inside; all others by their first bytes.
SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif".split())
# ISO-BMFF brands of AVIF (AV1 Image File Format, §6) and HEIF (ISO 23008-12, annex B).
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def is_photo(head: bytes) -> bool:
    """Whether a file that begins with these bytes (64 are enough) is in a format that can be decoded."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _BRANDS))
    )
