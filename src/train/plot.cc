#include "train/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"

namespace fathom {
namespace {

constexpr double kWidth = 560, kHeight = 300, kLeft = 62, kRight = 12, kTop = 30, kBottom = 40;
constexpr double kLegendLine = 16;
constexpr size_t kColumns = 300, kMeans = 100, kColors = 8, kMostMarkers = 60;

std::string fixed(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", x);
  return text;
}

std::string label(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", x);
  return text;
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void take(double x) { low = std::min(low, x), high = std::max(high, x); }
  bool empty() const { return low > high; }
  /// Never of width zero.
  void widen(double share) {
    const double by = high > low ? share * (high - low) : std::max(std::fabs(high), 1.0) * 0.5;
    low -= by, high += by;
  }
};

size_t column_of(const Point& p, const Range& x, size_t columns) {
  return std::min(static_cast<size_t>((p.x - x.low) / (x.high - x.low) * static_cast<double>(columns)), columns - 1);
}

/// The mean of the finite points of each of kMeans columns.
std::vector<Point> means(const std::vector<Point>& points, const Range& x) {
  std::vector<Point> out;
  for (size_t at = 0; at < points.size();) {
    const size_t here = column_of(points[at], x, kMeans);
    double sum_x = 0, sum_y = 0, count = 0;
    for (; at < points.size() && column_of(points[at], x, kMeans) == here; ++at)
      if (std::isfinite(points[at].y)) sum_x += points[at].x, sum_y += points[at].y, ++count;
    if (count > 0) out.push_back({sum_x / count, sum_y / count});
  }
  return out;
}

/// The smallest and the largest point of each of kColumns columns, and a gap where one has any.
std::vector<Point> thinned(const std::vector<Point>& points, const Range& x) {
  std::vector<Point> out;
  for (size_t at = 0; at < points.size();) {
    const size_t here = column_of(points[at], x, kColumns);
    const Point *low = nullptr, *high = nullptr, *gap = nullptr;
    for (; at < points.size() && column_of(points[at], x, kColumns) == here; ++at) {
      const Point& p = points[at];
      if (!std::isfinite(p.y)) {
        gap = &p;
        continue;
      }
      if (!low || p.y < low->y) low = &p;
      if (!high || p.y > high->y) high = &p;
    }
    if (low) out.push_back(low->x <= high->x ? *low : *high);
    if (low && low != high) out.push_back(low->x <= high->x ? *high : *low);
    if (gap) out.push_back({gap->x, NAN});
  }
  return out;
}

class Drawing {
 public:
  Drawing(const Plot& plot, Range x, Range y) : plot_(plot), x_(x), y_(y) {}

  std::string svg() {
    const auto named =
        std::count_if(plot_.series.begin(), plot_.series.end(), [](const Series& s) { return !s.label.empty(); });
    const double more = kLegendLine * static_cast<double>(named);
    out_ = cat("<svg viewBox=\"0 0 ", kWidth, " ", kHeight + more, "\" role=\"img\" aria-label=\"",
               html_escaped(plot_.title), "\">\n");
    text(kLeft, 18, "start", plot_.title, " class=\"title\"");
    axes();
    for (const Series& series : plot_.series) curve(series);
    legend();
    return out_ + "</svg>\n";
  }

 private:
  double at_x(double x) const { return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight); }
  double at_y(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }
  void text(double x, double y, const char* anchor, std::string_view words, std::string_view more = "") {
    out_ += cat("<text x=\"", fixed(x), "\" y=\"", fixed(y), "\" text-anchor=\"", anchor, "\"", more, ">",
                html_escaped(words), "</text>\n");
  }
  void line(double x1, double y1, double x2, double y2) {
    out_ +=
        cat("<line x1=\"", fixed(x1), "\" y1=\"", fixed(y1), "\" x2=\"", fixed(x2), "\" y2=\"", fixed(y2), "\"/>\n");
  }
  void axes() {
    for (const double tick : axis_ticks(y_.low, y_.high, 5)) {
      line(kLeft, at_y(tick), kWidth - kRight, at_y(tick));
      text(kLeft - 6, at_y(tick) + 4, "end", label(tick));
    }
    for (const double tick : axis_ticks(x_.low, x_.high, 6)) {
      line(at_x(tick), kHeight - kBottom, at_x(tick), kHeight - kBottom + 4);
      text(at_x(tick), kHeight - kBottom + 17, "middle", label(tick));
    }
    line(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom);
    text((kLeft + kWidth - kRight) / 2, kHeight - 6, "middle", plot_.x_label);
    text(14, (kTop + kHeight - kBottom) / 2, "middle", plot_.y_label,
         cat(" transform=\"rotate(-90 14 ", fixed((kTop + kHeight - kBottom) / 2), ")\""));
  }
  static std::string style(const Series& series, const char* more = "") {
    return cat(" class=\"curve", series.dashed ? " dashed" : "", more, "\" style=\"--c:var(--c", series.color % kColors,
               ")\"");
  }
  void path(const Series& series, const std::vector<Point>& points, const char* more) {
    out_ += cat("<path", style(series, more), " d=\"");
    bool down = false;
    for (const Point& p : points) {
      if (std::isfinite(p.y)) out_ += cat(down ? "L" : "M", fixed(at_x(p.x)), " ", fixed(at_y(p.y)));
      down = std::isfinite(p.y);
    }
    out_ += "\"/>\n";
  }
  void curve(const Series& series) {
    if (series.points.size() > kColumns) {
      path(series, thinned(series.points, x_), " faint");
      path(series, means(series.points, x_), "");
      return;
    }
    path(series, series.points, "");
    if (series.points.size() > kMostMarkers) return;
    for (const Point& p : series.points)
      if (std::isfinite(p.y))
        out_ +=
            cat("<circle", style(series), " cx=\"", fixed(at_x(p.x)), "\" cy=\"", fixed(at_y(p.y)), "\" r=\"2\"/>\n");
  }
  /// Below the plot, one line a name.
  void legend() {
    double y = kHeight + kLegendLine / 2;
    for (const Series& series : plot_.series) {
      if (series.label.empty()) continue;
      out_ += cat("<path", style(series), " d=\"M", fixed(kLeft), " ", fixed(y - 4), "h24\"/>\n");
      text(kLeft + 32, y, "start", series.label);
      y += kLegendLine;
    }
  }

  const Plot& plot_;
  Range x_, y_;
  std::string out_;
};

}  // namespace

std::vector<double> axis_ticks(double low, double high, int about) {
  const double rough = (high - low) / about;
  if (!(rough > 0) || !std::isfinite(rough)) return {};
  const double power = std::pow(10, std::floor(std::log10(rough))), lead = rough / power;
  const double step = power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
  std::vector<double> ticks;
  for (double n = std::ceil(low / step - 1e-9); n * step <= high + 1e-9 * step && ticks.size() < 50; ++n)
    ticks.push_back(n == 0 ? 0 : n * step);  // and no -0
  return ticks;
}

std::string to_svg(const Plot& plot) {
  Range x, y;
  for (const Series& series : plot.series)
    for (const Point& p : series.points)
      if (std::isfinite(p.y)) x.take(p.x), y.take(p.y);
  if (y.empty()) return "";
  for (const Series& series : plot.series)  // a curve that ends in gaps is as long as it ran
    for (const Point& p : series.points) x.take(p.x);
  x.widen(0), y.widen(0.05);
  return Drawing(plot, x, y).svg();
}

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

}  // namespace fathom
