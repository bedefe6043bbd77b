//! Pictures of curves as SVG. Their texts are left to the fonts of whoever looks at them.

use super::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

/// The width and the height of a panel.
const SIZE: (u32, u32) = (900, 500);

/// Lines of fewer points show each of them: one alone is no line.
const DOTS_BELOW: usize = 100;

/// A diagram: lines over a common axis.
pub(crate) struct Panel<'a> {
    pub(crate) caption: String,
    /// What the axes show.
    pub(crate) axes: [&'a str; 2],
    /// The greatest x.
    pub(crate) end: f64,
    pub(crate) lines: Vec<Line<'a>>,
}

/// Points joined by a line.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) points: &'a [(f64, f64)],
    pub(crate) colour: RGBColor,
}

/// Panels one below the other.
pub(crate) fn picture(panels: &[Panel<'_>]) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (SIZE.0, SIZE.1 * panels.len() as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for (part, panel) in area.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw(part, panel)?;
    }
    area.present()?;
    drop(area);
    Ok(svg)
}

fn draw<'a>(area: &DrawingArea<SVGBackend<'a>, Shift>, panel: &Panel<'_>) -> Result<(), DrawError<'a>> {
    let ys = panel.lines.iter().flat_map(|line| line.points).map(|&(_, y)| y);
    let (low, high) = ys.fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
    let margin = ((high - low) * 0.05).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(40)
        .caption(&panel.caption, ("sans-serif", 20))
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..panel.end, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 14))
        .x_desc(panel.axes[0])
        .x_label_formatter(&|x| format!("{}", (x * 100.0).round() / 100.0))
        .y_desc(panel.axes[1])
        .y_label_formatter(&|y| format!("{y:.2}"))
        .draw()?;
    for &Line { name, points, colour } in &panel.lines {
        let style = colour.filled().stroke_width(2);
        let dots = if points.len() < DOTS_BELOW { 3 } else { 0 };
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), style).point_size(dots))?;
        if panel.lines.len() > 1 {
            line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
    }
    if panel.lines.len() > 1 {
        let mut names = chart.configure_series_labels();
        names.label_font(("sans-serif", 14)).background_style(WHITE).border_style(BLACK.mix(0.3)).draw()?;
    }
    Ok(())
}

type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
