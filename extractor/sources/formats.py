"""Which files are photos, by their names and first bytes."""

FORMATS = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, HEIC or camera RAW"
# Files with these endings are taken for photos without a look inside; all others by their first bytes.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif "
    ".dng .nef .nrw .cr2 .cr3 .crw .arw .srf .sr2 .orf .rw2 .rwl .raf .pef .srw .3fr .iiq .mrw .x3f".split()
)
# ISO-BMFF brands of AVIF (AV1 Image File Format, §6) and HEIF (ISO 23008-12, annex B).
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Camera RAW that is not a TIFF by its first bytes: of Fujifilm, Olympus (three), Panasonic, Sigma, Minolta and Canon.
# Most others (DNG, NEF, ARW, CR2, PEF, SRW) begin as a TIFF does.
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")


def is_photo(head: bytes) -> bool:
    """Whether a file that begins with these bytes (64 are enough) is in a format that can be decoded."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[:2] == b"BM" and head[6:10] == b"\0\0\0\0")
        or (head[4:8] == b"ftyp" and any(brand in head[8:] for brand in _BRANDS))
        or begins_as_raw(head)
    )


def begins_as_raw(head: bytes) -> bool:
    """Whether these first bytes are those of camera RAW, and of no TIFF."""
    return head.startswith(_RAW) or head[4:12] == b"ftypcrx "
