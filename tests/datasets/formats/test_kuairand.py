"""KuaiRand: clicks of the standard logs, tokens of users and videos, and how faults are told."""

from pathlib import Path

import pytest

from greenflow_ray.datasets.formats import kuairand
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import DataError

LOG = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_rand,tab\n"
VIDEOS = "video_id,author_id,video_type,upload_dt,upload_type,video_duration,music_id,music_type,tag\n"


def write(folder: Path, log: str = "") -> Path:
    data = folder / "data"
    data.mkdir()
    (data / "log_standard_4_08_to_4_21_pure.csv").write_text(
        LOG + "1,10,20220408,900,1649379600000,1,0,0,1\n1,11,20220408,900,1649379600001,0,0,0,1\n" + log
    )
    (data / "log_standard_4_22_to_5_08_pure.csv").write_text(LOG + "2,11,20220422,900,1650589200000,1,1,0,1\n")
    (data / "log_random_4_22_to_5_08_pure.csv").write_text(LOG + "2,12,20220422,900,1650589200009,1,1,1,1\n")
    (data / "user_features_pure.csv").write_text(
        "user_id,user_active_degree,follow_user_num,follow_user_num_range,onehot_feat0,onehot_feat4\n"
        '1,full_active,5,"(0,10]",1,4.0\n2,UNKNOWN,0,0,0,\n3,high_active,0,0,0,\n'
    )
    (data / "video_features_basic_pure.csv").write_text(
        VIDEOS
        + '10,7,NORMAL,2020-07-08,ShortImport,17200.0,99,4.0,"12,65"\n11,7,AD,2020-07-08,LongImport,,98,9.0,\n'
        + "12,8,NORMAL,2020-07-08,ShortImport,1.0,1,4.0,1\n"
    )
    return folder


def named(tokens: object, wanted: int) -> list[str]:
    assert isinstance(tokens, TokensById)
    row = tokens.tokens.row(tokens.ids.tolist().index(wanted))
    return [tokens.vocabulary[i] for i in row]


def test_clicks_of_the_standard_logs_are_events(tmp_path: Path) -> None:
    got = kuairand.read(write(tmp_path))
    assert got.times is not None
    assert (got.users.tolist(), got.items.tolist()) == ([1, 2], [10, 11])
    assert got.times.tolist() == [1649379600000, 1650589200000]
    assert got.dropped == {"impression without click": 1}
    assert "1 random log(s) left out" in got.remarks[0]
    assert [p.name for p in kuairand.source_files(tmp_path)][-2:] == [
        "user_features_pure.csv",
        "video_features_basic_pure.csv",
    ]


def test_features_become_tokens_of_those_who_were_met(tmp_path: Path) -> None:
    got = kuairand.read(write(tmp_path))
    assert named(got.user_tokens, 1) == [
        "user_active_degree=full_active",
        "follow_user_num_range=(0,10]",
        "onehot_feat0=1",
        "onehot_feat4=4",
    ]
    assert named(got.user_tokens, 2) == ["user_active_degree=UNKNOWN", "follow_user_num_range=0", "onehot_feat0=0"]
    # The author of both clicked videos is a token; each music and tag too.
    assert named(got.item_tokens, 10) == [
        "video_type=NORMAL",
        "upload_type=ShortImport",
        "music_type=4",
        "tag=12",
        "tag=65",
        "author_id=7",
    ]
    assert named(got.item_tokens, 11) == ["video_type=AD", "upload_type=LongImport", "music_type=9", "author_id=7"]
    assert isinstance(got.user_tokens, TokensById)
    assert 3 not in got.user_tokens.ids


def test_a_random_log_is_read_where_it_is_named(tmp_path: Path) -> None:
    got = kuairand.read(write(tmp_path) / "data" / "log_random_4_22_to_5_08_pure.csv")
    assert (got.items.tolist(), got.remarks) == ([12], ())
    assert "author_id=8" not in named(got.item_tokens, 12)  # a single video's author says no more than the video


def test_features_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path)
    for file in (tmp_path / "data").glob("*features*"):
        file.unlink()
    got = kuairand.read(tmp_path / "data")
    assert isinstance(got.user_tokens, TokensById)
    assert len(got.user_tokens.ids) == 0
    assert got.user_tokens.of(got.users).tokens.lengths.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("1,10,20220408,900\n", r"log_standard_4_08_to_4_21_pure\.csv: line 4: expected 'user_id,video_id"),
        ("1,10,20220408,900,soon,1,0,0,1\n", r"line 4"),
    ],
)
def test_bad_logs_name_file_and_line(tmp_path: Path, log: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        kuairand.read(write(tmp_path, log))


def test_missing_columns(tmp_path: Path) -> None:
    assert kuairand.source_files(tmp_path) == []
    write(tmp_path)
    (tmp_path / "data" / "log_standard_4_08_to_4_21_pure.csv").write_text("user_id,video_id\n1,2\n")
    with pytest.raises(DataError, match=r"line 1: no column 'time_ms' among user_id, video_id"):
        kuairand.read(tmp_path)
