"""The tables as a terminal shows them."""

import pytest

from scripts.common.cli import BadInput
from scripts.terminal import tables as show

HEADER = "experiment,trial,r,held_out_loss,held_out_loss_n,held_out_loss_wilson_low," \
         "held_out_loss_wilson_high,held_out_loss_group_bootstrap_low," \
         "held_out_loss_group_bootstrap_high,exact_match\n"  # fmt: skip


def test_figures_with_intervals_and_dashes(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "curves.pdf").touch()
    rows = "e,base,,0.58,200,,,0.5612,0.5988,0.125\ne,sft-1,16,0.27,200,,,0.25,0.29,\n"
    (tmp_path / "tables" / "sft.csv").write_text(HEADER + rows, encoding="utf-8")
    assert show.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "0.58 [0.56, 0.60]" in printed
    assert "sft-1" in printed
    assert "–" in printed
    assert "curves (pdf)" in printed
    assert "report.html" not in printed


def test_the_page_is_named_where_there_is_one(tmp_path, capsys):
    for folder in ("tables", "figures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tables" / "sft.csv").write_text(HEADER, encoding="utf-8")
    (tmp_path / "report.html").touch()
    show.main([str(tmp_path)])
    assert f"{tmp_path / 'report.html'}: all of it in one page" in capsys.readouterr().out


def test_sets_of_prompts_and_the_mark(tmp_path, capsys):
    for folder in ("tables", "figures"):
        (tmp_path / folder).mkdir()
    text = "mark,trial,set,exact_match\nRehearsal only,sft-1,problems-100,0.5\n"
    (tmp_path / "tables" / "sft.csv").write_text(text, encoding="utf-8")
    show.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "Rehearsal only" in printed
    assert "problems-100" in printed


def test_no_tables_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="no tables"):
        show.main([str(tmp_path)])
