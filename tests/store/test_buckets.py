"""How buckets are reached, and the messages when they cannot be; against real servers on the loopback."""

import time
from pathlib import Path
from typing import Any

import pytest
from servers import KEYS, Proxy, one_of_five

from petrieve.store import asking, buckets
from petrieve.store.asking import Ended, Unreached, asked, refused, says_slow_down, waits
from petrieve.store.buckets import connected, is_address, parted
from petrieve.store.errors import PetrieveError


def get(address: str) -> bytes:
    bucket, key = connected(address, retries=0)
    return asked(address, lambda: bytes(bucket.get(key).bytes()))


def test_addresses_are_told_from_paths_and_keys_mean_themselves() -> None:
    assert all(map(is_address, ("s3://b/k", "gs://b", "https://x")))
    assert not any(map(is_address, ("photos", "C:/photos", Path("/a"))))
    assert parted("S3://b/a//b #ü%20?x") == ("s3://b", "a//b #ü%20?x")
    for other in ("ftp://x/y", "s3://", "photos", "s3://our pets/k", "s3://pets#1/k", "s3://ü/k"):
        with pytest.raises(PetrieveError, match="write s3://"):
            parted(other)


def test_an_address_with_a_secret_is_refused_without_it() -> None:
    for address in (
        "https://pets.s3.amazonaws.com/1.jpg?X-Amz-Signature=TopSecret",
        "https://pets.s3.amazonaws.com?X-Amz-Signature=TopSecret",
        "s3://pets?X-Amz-Signature=TopSecret",
        "s3://AKIA:TopSecret@pets/1.jpg",
    ):
        with pytest.raises(PetrieveError) as caught:
            parted(address)
        assert "Secret" not in str(caught.value)
    assert parted("abfs://pets@account.dfs.core.windows.net/a")[1] == "a"


def test_a_bucket_is_read_and_connected_once(proxy: Proxy, bucket: Any) -> None:
    bucket.put_object(Key="a b/ü.txt", Body=b"hello")
    assert get(f"s3://{bucket.name}/a b/ü.txt") == b"hello"
    assert connected(f"s3://{bucket.name}")[0] is connected(f"s3://{bucket.name}/other")[0]


@pytest.mark.parametrize("fault", ["503", "429", "500", "cut"])
def test_what_one_of_five_requests_suffers_is_tried_again(proxy: Proxy, bucket: Any, fault: str) -> None:
    bucket.put_object(Key="k", Body=b"0123456789")
    proxy.fault = one_of_five(fault)
    assert {get(f"s3://{bucket.name}/k") for _ in range(10)} == {b"0123456789"}


def test_what_does_not_pass_ends_in_words_without_secrets(
    proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    address = f"s3://{bucket.name}/k"
    with pytest.raises(FileNotFoundError, match="No such file"):
        get(address)
    with pytest.raises(FileNotFoundError, match="there is no bucket s3://no-such-bucket"):
        get("s3://no-such-bucket/k")
    for status, kind, words in (("503", Unreached, "could not be reached"), ("403", PermissionError, "no access")):
        proxy.fault = lambda _, status=status: status  # type: ignore[misc]
        with pytest.raises(kind, match=words) as caught:
            get(address)
        text = f"{caught.value} {refused(address, caught.value)}"
        assert not any(secret in text for secret in ("http", *KEYS.values()))
        assert "\n" not in text


def test_nobody_there_is_could_not_be_reached_and_who_waits_is_told(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(asking, "PATIENCE", 0.5)
    monkeypatch.setattr(asking, "UNTOLD_WAIT", 0.1)
    told = pytest.warns(UserWarning, match=r"s3://pets could not be reached: no connection; it is tried again for up")
    with told, pytest.raises(Unreached, match="could not be reached: no connection"):
        get("s3://pets/k")


def test_waits_grow_at_random_and_are_bounded() -> None:
    made = [wait for wait, _ in zip(waits(), range(12), strict=False)]
    assert made[0] <= 0.1
    assert 7.5 <= made[-1] <= 15
    assert made != [wait for wait, _ in zip(waits(), range(12), strict=False)]


def test_a_complaint_in_an_objects_place_is_told_from_a_photo() -> None:
    assert says_slow_down(b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>')
    assert not any(map(says_slow_down, (b"\xff\xd8\xff <Error>", b"")))


def _profile(folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: int) -> Path:
    """A profile whose credentials come from a program, and end so soon; what it is asked is written down."""
    program, log = folder / "lend.sh", folder / "asked"
    program.write_text(
        f"date >> {log}; [ -e {folder}/none ] && {{ echo TopSecret >&2; exit 1; }}\n"
        f"end=$(date -u -d '+{seconds} sec' +%Y-%m-%dT%H:%M:%SZ)\n"
        'echo \'{"Version":1,"AccessKeyId":"AKIA","SecretAccessKey":"TopSecret","Expiration":"\'$end\'"}\'\n'
    )
    config = folder / "config"
    config.write_text(f"[profile lent]\nregion=eu-west-1\ncredential_process=/bin/sh {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lent")
    return log


def test_credentials_are_asked_for_again_and_their_end_is_said(
    proxy: Proxy, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="k", Body=b"0")
    log, address = _profile(tmp_path, monkeypatch, seconds=2), f"s3://{bucket.name}/k"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for _ in range(6):
        assert get(address) == b"0"
        time.sleep(0.5)
    assert "AKIA/" in proxy.asked[-1].headers["authorization"]
    assert len(log.read_text().splitlines()) >= 3
    (tmp_path / "none").touch()
    time.sleep(2.5)
    with pytest.raises(Ended, match=f"the credentials for s3://{bucket.name} have ended") as caught:
        get(address)
    assert "TopSecret" not in str(refused(address, caught.value))


def test_without_credentials_a_bucket_is_asked_anonymously(
    proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="k", Body=b"0", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    assert get(f"s3://{bucket.name}/k") == b"0"
    assert "authorization" not in proxy.asked[-1].headers


def test_a_wrong_region_becomes_the_right_one(proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto says where a bucket is, as S3 does, and takes any signature: what is signed for shows in the request."""
    bucket.put_object(Key="k", Body=b"0")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert get(f"s3://{bucket.name}/k") == b"0"
    assert "/us-east-1/s3/" in proxy.asked[-1].headers["authorization"]


def test_requests_to_a_bucket_whose_requester_pays_say_so(
    proxy: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Key="k", Body=b"0")
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    assert get(f"s3://{bucket.name}/k") == b"0"
    assert proxy.asked[-1].headers["x-amz-request-payer"] == "requester"


def test_buckets_are_in_the_path_at_an_endpoint_and_in_the_hosts_name_elsewhere(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(name: str) -> tuple[str, str]:
        config = connected(f"s3://{name}")[0].config
        return config.get("endpoint", ""), str(config["virtual_hosted_style_request"]).lower()

    assert shown("pets") == (proxy.endpoint, "false")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    assert shown("pets") == (proxy.endpoint.replace("127", "pets.127"), "true")
    monkeypatch.delenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setattr(buckets, "_region", lambda _: None)  # AWS is not asked
    assert (shown("pets"), shown("my.pets")) == (("", "true"), ("", "false"))


def test_a_missing_extra_names_the_command_that_mends_it(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(PetrieveError, match=r'pip install "petrieve\[bucket\]"'):
        connected("s3://another-bucket/k")
