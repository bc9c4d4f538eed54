// Curves as SVG: axes, ticks, legend, colours by CSS variables (--c0 to --c7, --line, --text) of the page around it.
// Called by the report. Pure: thread-safe.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

struct Point {
  double x, y;  ///< y NaN: a gap in the curve
};

struct Series {
  std::string label;  ///< "": not in the legend
  size_t color = 0;   ///< modulo 8
  bool dashed = false;
  std::vector<Point> points;  ///< x ascending
};

struct Plot {
  std::string title, x_label, y_label;
  std::vector<Series> series;
};

/// One <svg> element; empty where no series has a finite point. A series of more than 300 points is drawn
/// faintly by the smallest and the largest value of each of 300 columns, so that no spike is lost, and over that by the
/// mean of each of 100. A legend below names the series.
std::string to_svg(const Plot& plot);

/// Round numbers (1, 2 or 5 times a power of ten apart), about `about` of them, that lie within [low, high].
std::vector<double> axis_ticks(double low, double high, int about);

/// For HTML: & < > " ' replaced, control characters but newline and tab left out.
std::string html_escaped(std::string_view text);

}  // namespace fathom
