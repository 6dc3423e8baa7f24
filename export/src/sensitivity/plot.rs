//! Sensitivity as a drawing: the squared error of every layer alone as a bar, and of all but it as a dot.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Sensitivity;

/// Width of the drawing, that of the layers' names, and height of a layer.
const WIDTH_PX: u32 = 900;
const NAMES_PX: u32 = 230;
const LAYER_PX: u32 = 18;
/// Text size; plotters divides it by 1.24 on its way to SVG pixels.
const TEXT_SIZE: f64 = 15.0;
const ALONE: RGBColor = RGBColor(70, 120, 180);
const WITHOUT: RGBColor = RGBColor(200, 90, 30);
/// Smallest error that is shown: the axis is logarithmic, and a layer may change nothing.
const LEAST: f64 = 1e-12;

pub(super) fn svg(found: &Sensitivity) -> Result<String, String> {
    let text = |e: DrawingAreaErrorKind<std::io::Error>| format!("{e:?}");
    let errors = found.layers.iter().flat_map(|l| [l.only.mask_mse, l.without.mask_mse]).chain([found.all.mask_mse]).map(|e| e.max(LEAST));
    let (least, most) = errors.fold((f64::INFINITY, LEAST), |(low, high), e| (low.min(e), high.max(e)));
    let (low, high) = (10f64.powf(least.log10().floor()), 10f64.powf((1.05 * most).log10().ceil()));
    let count = found.layers.len() as f64;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH_PX, LAYER_PX * found.layers.len() as u32 + 110)).into_drawing_area();
        root.fill(&WHITE).map_err(text)?;
        let font = ("sans-serif", TEXT_SIZE).into_font().color(&BLACK);
        let mut chart = ChartBuilder::on(&root)
            .margin(10)
            .margin_top(40)
            .x_label_area_size(50)
            .y_label_area_size(NAMES_PX)
            .build_cartesian_2d((low..high).log_scale(), count - 0.5..-0.5)
            .map_err(text)?;
        let mesh = |v: &f64| format!("{v:.0e}");
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_label_formatter(&mesh)
            .x_desc("mean squared error of the masks")
            .label_style(font.clone())
            .draw()
            .map_err(text)?;
        let all = found.all.mask_mse.max(LEAST);
        chart.draw_series([PathElement::new(vec![(all, -0.5), (all, count - 0.5)], WITHOUT.mix(0.5))]).map_err(text)?;
        for (at, layer) in found.layers.iter().enumerate() {
            let (y, only, without) = (at as f64, layer.only.mask_mse.max(LEAST), layer.without.mask_mse.max(LEAST));
            chart.draw_series([Rectangle::new([(low, y - 0.35), (only, y + 0.35)], ALONE.filled())]).map_err(text)?;
            chart.draw_series([Circle::new((without, y), 4, WITHOUT.filled())]).map_err(text)?;
            let (x, y) = chart.backend_coord(&(low, y));
            root.draw(&Text::new(layer.name.clone(), (x - 8, y), font.clone().pos(Pos::new(HPos::Right, VPos::Center)))).map_err(text)?;
        }
        for (x, color, words) in [(NAMES_PX as i32, ALONE, "only this layer in INT8"), (NAMES_PX as i32 + 230, WITHOUT, "all but this layer (line: all)")] {
            root.draw(&Rectangle::new([(x, 14), (x + 12, 26)], color.filled())).map_err(text)?;
            root.draw(&Text::new(words, (x + 18, 20), font.clone().pos(Pos::new(HPos::Left, VPos::Center)))).map_err(text)?;
        }
        root.present().map_err(text)?;
    }
    Ok(svg)
}
