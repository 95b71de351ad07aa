"""A fleet's results: complete or absent, skipped when they are there, and the same however the work was divided."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptic_ros.cli import main
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.results import numbers
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.merge import read_fleet
from panoptic_ros.fleet.run import parse_shard, write_merged
from panoptic_ros.fleet.storage import Store, expand, recording_name

Run = Callable[..., Any]
DONE = 4  # of five bags one is damaged


def merged(*places: Path, out: Path) -> bytes:
    write_merged([Store(str(place)) for place in places], Store(str(out)))
    return (out / "fleet.json").read_bytes()


def test_a_fleet_of_one_recording_has_the_numbers_of_evaluate(bags: list[str], make_job: Callable[..., Job],
                                                              run_inline: Run, tmp_path: Path) -> None:
    job = make_job()
    run_inline(job, bags[:1], tmp_path / "fleet")
    fleet = json.loads(merged(tmp_path / "fleet", out=tmp_path / "fleet"))
    assert main(["evaluate", bags[0], "--out", str(tmp_path / "single"), "--model", job.model, "--engine", "torch",
                 "--device", "cpu", "--precision", "single"]) == 0
    single = json.loads((tmp_path / "single" / "evaluation.json").read_text())
    assert numbers(fleet) == numbers(single)
    assert len(numbers(fleet)) > 50
    assert fleet["frames"] == single["frames"]
    assert fleet["tracks"] == single["tracks"]


def test_shards_on_any_machines_merge_to_the_bytes_of_one_run(bags: list[str], evaluated: Path, run_inline: Run,
                                                              make_job: Callable[..., Job], tmp_path: Path) -> None:
    one = merged(evaluated, out=tmp_path / "merged_one")
    for k in (1, 2, 3):
        run_inline(make_job(), bags, tmp_path / f"machine_{k}", shard=(k, 3))
        run_inline(make_job(), bags, tmp_path / "shared", shard=(k, 3))
    assert merged(tmp_path / "shared", out=tmp_path / "shared") == one
    apart = [tmp_path / f"machine_{k}" for k in (3, 1, 2)]
    assert merged(*apart, out=tmp_path / "apart") == one
    result = json.loads(one)
    assert result["recordings"] == {"ok": DONE, "failed": 1, "missing": 0}
    assert result["panoptic"]["all"]["pq"] > 0


def test_the_numbers_come_from_counters_not_from_means_of_recordings(evaluated: Path, tmp_path: Path) -> None:
    result = json.loads(merged(evaluated, out=tmp_path / "all"))
    rows = [row for row in result["rows"] if row["status"] == "ok"]
    assert result["frames"]["scored"] == result["images"] == 11
    found = sum(one["tp"] for one in result["panoptic"]["classes"].values())
    single = [json.loads(file.read_text()) for file in evaluated.glob("recordings/*/evaluation.json")]
    assert found == sum(one["tp"] for each in single for one in each["panoptic"]["classes"].values())
    assert found > 20
    mean = np.mean([row["quality"]["miou"] for row in rows])
    assert abs(result["miou"] - mean) > 1e-3


def test_what_is_done_is_skipped_and_what_is_missing_is_told(bags: list[str], evaluated: Path, run_inline: Run,
                                                             make_job: Callable[..., Job], tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(evaluated, out)
    lost = next(out.glob("recordings/drive_2-*"))
    shutil.rmtree(lost)
    before = json.loads(merged(out, out=tmp_path / "before"))
    assert before["recordings"] == {"ok": DONE - 1, "failed": 1, "missing": 1}
    outcome, calls = run_inline(make_job(), bags, out)
    assert (outcome.skipped, calls) == (4, ["drive_2.mcap"])  # the damaged one would fail again
    assert merged(out, out=tmp_path / "after") == merged(evaluated, out=tmp_path / "all")
    _, calls = run_inline(make_job(), bags, out, retry_failed=True)
    assert calls == ["drive_1b.mcap"]


def test_other_settings_or_another_content_are_other_work(bags: list[str], run_inline: Run,
                                                          make_job: Callable[..., Job], tmp_path: Path) -> None:
    bag = tmp_path / "drive.mcap"
    shutil.copy(bags[0], bag)
    out = tmp_path / "out"
    job = make_job(truth="none")
    assert run_inline(job, [str(bag)], out)[1] == ["drive.mcap"]
    assert run_inline(job, [str(bag)], out)[1] == []
    assert run_inline(make_job(), [str(bag)], out)[1] == ["drive.mcap"]
    shutil.copy(bags[-1], bag)
    assert run_inline(make_job(), [str(bag)], out)[1] == ["drive.mcap"]
    renamed = bag.rename(tmp_path / "another_name.mcap")
    assert run_inline(make_job(), [str(renamed)], out)[1] == []
    fleet = read_fleet([Store(str(out))])
    assert [(row["recording"], row["status"]) for row in fleet.rows] == [(str(renamed), "ok")]


def test_a_recording_that_is_there_twice_counts_once(bags: list[str], run_inline: Run, make_job: Callable[..., Job],
                                                     tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "a_copy.mcap"
    shutil.copy(bags[0], copy)
    _, calls = run_inline(make_job(truth="none"), sorted([str(copy), bags[0]]), tmp_path / "out")
    assert len(calls) == 1
    assert "has the same content as" in capsys.readouterr().err
    assert read_fleet([Store(str(tmp_path / "out"))]).rows[0]["status"] == "ok"


def test_a_failed_recording_has_a_row_with_its_reason_and_a_log(evaluated: Path, tmp_path: Path) -> None:
    result = json.loads(merged(evaluated, out=tmp_path / "all"))
    (row,) = (row for row in result["rows"] if row["status"] == "failed")
    assert row["recording"].endswith("drive_1b.mcap")
    assert row["fault"] == "input"
    (folder,) = evaluated.glob("recordings/drive_1b-*")
    assert sorted(file.name for file in folder.iterdir()) == ["log.txt", "result.json"]
    assert row["reason"] in (folder / "log.txt").read_text()
    assert not list(evaluated.glob(".partial/*"))


def test_a_recording_that_is_not_there_fails_and_the_others_go_on(bags: list[str], run_inline: Run,
                                                                  make_job: Callable[..., Job], tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing.mcap")
    outcome, calls = run_inline(make_job(truth="none"), sorted([bags[0], nothing]), tmp_path / "out")
    assert (outcome.failed, len(calls)) == (1, 1)
    rows = {row["recording"]: row for row in read_fleet([Store(str(tmp_path / "out"))]).rows}
    assert rows[nothing]["status"] == "failed"
    assert rows[nothing]["reason"] == f"there is no {nothing}"


def test_a_fleet_of_which_everything_failed_has_a_report_and_status_1(
        bags: list[str], make_job: Callable[..., Job], run_inline: Run, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    run_inline(make_job(), bags[2:3], tmp_path)
    assert main(["fleet", "merge", str(tmp_path)]) == 1
    assert "0 ok, 1 failed, 0 missing" in capsys.readouterr().out
    assert "drive_1b" in (tmp_path / "report.html").read_text()
    assert main(["fleet", "merge", str(tmp_path), "--allow-failed", "1"]) == 0


def test_workers_anywhere_find_recordings_that_were_named_from_here(bags: list[str],
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(bags[0]).parent)
    assert expand(["drive_1.mcap", "./drive_0.mcap", "drive_1.mcap"]) == bags[:2]


def test_the_report_links_recordings_and_worst_frames_to_their_pages(evaluated: Path, tmp_path: Path) -> None:
    write_merged([Store(str(evaluated))], Store(str(tmp_path / "elsewhere")), skipped=2)
    page = (tmp_path / "elsewhere" / "report.html").read_text()
    links = {part.split('"')[0] for part in page.split('href="')[1:] if not part.startswith(("#", "data:"))}
    assert len(links) > DONE
    for link in links:
        file, _, anchor = link.partition("#")
        target = tmp_path / "elsewhere" / file
        assert target.is_file(), link
        assert f'id="{anchor}"' in target.read_text() or not anchor, link
    assert "of these done before: 2" in page
    assert "drive_1b" in page


def test_a_baseline_is_compared_over_the_recordings_of_both(evaluated: Path, bags: list[str], run_inline: Run,
                                                            make_job: Callable[..., Job], tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    fewer = tmp_path / "fewer"
    run_inline(make_job(), bags[:2], fewer)
    assert main(["fleet", "merge", str(fewer), "--compare", str(evaluated)]) == 0
    told = capsys.readouterr().out
    assert "0 of" in told
    assert "2 recordings of the baseline are not here" in told

    worse = tmp_path / "worse"
    shutil.copytree(fewer, worse)
    (file,) = worse.glob("recordings/drive_0-*/counters.npz")
    with np.load(file) as read:
        counters = dict(read)
    counters["matches.false_positive"] = counters["matches.false_positive"] + 100
    np.savez(file, **counters)
    assert main(["fleet", "merge", str(worse), "--compare", str(evaluated)]) == 1
    assert "REGRESSION" in capsys.readouterr().out

    lost = tmp_path / "lost"
    shutil.copytree(fewer, lost)
    shutil.rmtree(next(lost.glob("recordings/drive_1-*")))
    assert main(["fleet", "merge", str(lost), "--compare", str(evaluated), "--allow-failed", "1"]) == 1
    assert f"done there and not here: {bags[1]}" in capsys.readouterr().out


def test_what_does_not_belong_together_is_not_merged(evaluated: Path, bags: list[str], run_inline: Run,
                                                     make_job: Callable[..., Job], tmp_path: Path) -> None:
    run_inline(make_job(truth="none"), bags[:1], tmp_path / "other")
    with pytest.raises(InputError, match="of another run .*options is .*none.* there"):
        read_fleet([Store(str(evaluated)), Store(str(tmp_path / "other"))])
    with pytest.raises(InputError, match="no result of `panoptic-ros fleet`"):
        read_fleet([Store(str(tmp_path))])


def test_a_shard_that_never_ran_is_missing(bags: list[str], run_inline: Run, make_job: Callable[..., Job],
                                           tmp_path: Path) -> None:
    run_inline(make_job(truth="none"), bags, tmp_path, shard=(1, 2))
    missing = read_fleet([Store(str(tmp_path))]).of_status("missing")
    assert [row["recording"] for row in missing] == ["shard 2/2"]
    assert main(["fleet", "merge", str(tmp_path)]) == 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", ""])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="i/N"):
        parse_shard(text)


def test_replays_have_the_bytes_of_replay_whatever_came_before(bags: list[str], run_inline: Run,
                                                               make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job("replay")
    run_inline(job, [bags[0], bags[1], bags[4]], tmp_path / "fleet")
    result = json.loads(merged(tmp_path / "fleet", out=tmp_path / "fleet"))
    assert result["frames"] == {"in": 7, "out": 7, "dropped": {}}
    assert "panoptic" not in result
    for bag in (bags[0], bags[1]):
        single = tmp_path / Path(bag).stem
        main(["replay", bag, "--no-overlay", "--out", str(single), "--model", job.model, "--engine", "torch",
              "--device", "cpu", "--precision", "single"])
        (folder,) = (tmp_path / "fleet").glob(f"recordings/{Path(bag).stem}-*")
        assert (folder / "result.mcap").read_bytes() == (single / "result.mcap").read_bytes()


def test_labels_add_up(bags: list[str], run_inline: Run, make_job: Callable[..., Job], tmp_path: Path) -> None:
    run_inline(make_job("label"), bags[:2], tmp_path)
    result = json.loads(merged(tmp_path, out=tmp_path))
    single = [json.loads(file.read_text()) for file in tmp_path.glob("recordings/*/labelling.json")]
    assert len(single) == 2
    assert result["frames"]["out"] == sum(one["labelled"] for one in single) > 0
    labels = result["labels"]
    assert labels["pixels"] == result["frames"]["out"] * 64 * 128
    assert labels["pixels"] == sum(labels["void_pixels"].values()) + sum(
        one["pixels"] for one in labels["classes"].values())


def test_a_url_is_a_place_for_recordings_and_for_results(bags: list[str], run_inline: Run,
                                                         make_job: Callable[..., Job], evaluated: Path,
                                                         tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(bags[0], "/bags/drive_0.mcap")
    job, out = make_job(), "memory://results/first"
    outcome, calls = run_inline(job, ["memory://bags/drive_0.mcap"], out)
    assert (outcome.done, calls) == (1, ["drive_0.mcap"])
    assert run_inline(job, ["memory://bags/drive_0.mcap"], out)[1] == []
    write_merged([Store(out)], Store(out))
    result = json.loads(memory.cat("/results/first/fleet.json"))
    (local,) = evaluated.glob("recordings/drive_0-*/evaluation.json")
    assert numbers(result) == numbers(json.loads(local.read_text()))
    assert "recordings/drive_0-" in memory.cat("/results/first/report.html").decode()


def test_results_that_other_machines_uploaded_meanwhile_are_seen(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Listing(MemoryFileSystem):  # type: ignore[misc]
        """Keeps what it once listed, as S3's file system does."""

        protocol = "listing"
        listed: dict[str, Any] = {}

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(super()._strip_protocol(path.removeprefix("listing:/")))

        def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
            key = self._strip_protocol(path)
            if key not in self.listed:
                self.listed[key] = super().ls(path, detail=True, **kwargs)
            return self.listed[key] if detail else [entry["name"] for entry in self.listed[key]]

        def invalidate_cache(self, path: str | None = None) -> None:
            self.listed.clear()

    fsspec.register_implementation("listing", Listing, clobber=True)
    store = Store("listing://fleet/out")
    other = fsspec.filesystem("memory")
    other.pipe_file("/fleet/out/recordings/a-1111/result.json", b"{}")
    other.pipe_file("/fleet/out/work-1-of-2.json", b"{}")
    assert list(store.folders()) == ["1111"]
    assert store.names("work-*.json") == ["work-1-of-2.json"]
    other.pipe_file("/fleet/out/recordings/b-2222/result.json", b"{}")
    other.pipe_file("/fleet/out/work-2-of-2.json", b"{}")
    assert list(store.folders()) == ["1111", "2222"]
    assert store.names("work-*.json") == ["work-1-of-2.json", "work-2-of-2.json"]


def test_a_url_with_a_star_that_names_nothing_is_an_error() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="nothing matches memory://no_such_bags/"):
        expand(["memory://no_such_bags/*.mcap"])


def test_the_suffix_of_a_file_is_no_part_of_its_name_and_a_dot_in_a_folder_is() -> None:
    names = {"/bags/drive.v2.mcap": "drive.v2", "s3://bags/drive.mp4": "drive", "/bags/rosbag2_10.15": "rosbag2_10.15",
             "/bags/rosbag2_10.16/": "rosbag2_10.16"}
    assert {path: recording_name(path) for path in names} == names


def test_a_page_elsewhere_links_to_results_in_folders_of_any_name(bags: list[str], run_inline: Run,
                                                                  make_job: Callable[..., Job], tmp_path: Path) -> None:
    run_inline(make_job(truth="none"), bags[:1], tmp_path / "run #1 50%")
    merged(tmp_path / "run #1 50%", out=tmp_path / "merged")
    assert 'href="../run%20%231%2050%25/recordings/drive_0-' in (tmp_path / "merged" / "report.html").read_text()


def test_a_result_that_a_worker_could_not_write_is_a_fault_of_the_system(
        bags: list[str], make_job: Callable[..., Job], run_inline: Run, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Store.publish

    def full(store: Store, folder: Path, name: str, replace: bool = False) -> None:
        if "fault" not in json.loads((folder / "result.json").read_text())["row"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(store, folder, name, replace)

    monkeypatch.setattr(Store, "publish", full)
    job = make_job(truth="none")
    outcome, calls = run_inline(job, bags[:1], tmp_path)
    assert (outcome.failed, len(calls)) == (1, 2)  # tried twice
    (row,) = read_fleet([Store(str(tmp_path))]).rows
    assert (row["fault"], row["reason"]) == ("system", "OSError: [Errno 28] No space left on device")
    monkeypatch.undo()
    assert run_inline(job, bags[:1], tmp_path)[0].done == 1


def test_a_worker_without_a_processor_is_refused(bags: list[str], tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    for more in (["--cpus-per-worker", "0"], ["--gpus-per-worker", "-1"]):
        assert main(["fleet", "evaluate", bags[0], "--out", str(tmp_path), "--ray", "local", *more]) == 2
        assert f"{more[0]} is {more[1]}; it " in capsys.readouterr().err
