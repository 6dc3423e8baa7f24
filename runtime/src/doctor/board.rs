use amis_artifacts::board::Board;

use super::{Files, Report};

/// Model and board, from the device tree or the firmware.
pub(super) fn examine(files: &Files, report: &mut Report) -> Option<Board> {
    let compatible = files.text("proc/device-tree/compatible").unwrap_or_default();
    let compatible: Vec<&str> = compatible.split('\0').collect();
    report.jetson = compatible.iter().any(|c| c.starts_with("nvidia,tegra"));
    report.model = files.text("proc/device-tree/model").or_else(|| files.text("sys/class/dmi/id/product_name"));
    let model = report.model.clone().unwrap_or_else(|| "a machine without a name".into());
    if !report.jetson {
        report.good("board", format!("{model}, not a Jetson"));
        return None;
    }
    let is_this = |board: &Board| board.modules.iter().any(|module| compatible.iter().any(|c| c.contains(module.as_str())));
    let board = Board::all().ok()?.into_iter().find(is_this);
    match &board {
        Some(board) => {
            report.board = Some(board.name.clone());
            report.good("board", format!("{model}: {} ({}), {}", board.title, board.name, board.rated));
        }
        None => report.advise(
            "board",
            format!("{model} ({})", compatible.join(", ")),
            "this module is not described in boards/; everything works, `plan` cannot be asked",
        ),
    }
    board
}
