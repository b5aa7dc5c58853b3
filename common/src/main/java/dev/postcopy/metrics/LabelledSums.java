package dev.postcopy.metrics;

import io.prometheus.metrics.model.snapshots.Labels;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BiConsumer;

/**
 * Values by their labels, each labels once: where one comes twice, as of two machines that are
 * called alike, Prometheus would take none of all figures.
 */
final class LabelledSums {

  private final Map<Labels, Double> sums = new LinkedHashMap<>();

  void add(Labels labels, double value) {
    sums.merge(labels, value, Double::sum);
  }

  void forEach(BiConsumer<Labels, Double> consumer) {
    sums.forEach(consumer);
  }
}
