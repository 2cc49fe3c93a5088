package io.pyseriniext;

import java.util.Arrays;
import java.util.Comparator;
import java.util.Map;

/**
 * Turns the weights of a document into impacts: idf where it is premultiplied, pruning, then
 * {@code floor(value * scale + 1/2)}. One for each thread; the last document is in its fields.
 */
final class Quantiser {
  /** Where float32 scores stop being exact; Lucene's own limit is higher. */
  static final int MOST = 1 << 24;

  /**
   * What to do.
   *
   * @param scale impact of the value 1
   * @param premultiply whether the value is idf * weight; otherwise it is the weight, and idf
   *     serves pruning alone
   * @param idf null for 1 everywhere
   * @param missing idf of a token that the table lacks
   * @param clip largest impact; 0 makes a larger one than {@link #MOST} an error
   * @param threshold postings of a smaller idf * weight are dropped
   * @param mass postings are kept, by idf * weight, until they make up this part of the sum
   * @param keep part of a document's postings to keep, by idf * weight
   * @param cap postings to keep at most
   */
  record Plan(
      double scale,
      boolean premultiply,
      Map<String, Double> idf,
      double missing,
      int clip,
      double threshold,
      double mass,
      double keep,
      int cap) {}

  private final Plan plan;
  final Tally tally = new Tally();

  int count;
  String[] tokens = new String[256];
  int[] impacts = new int[256];

  private double[] values = new double[256]; // what becomes the impact
  private double[] worths = new double[256]; // what decides about pruning
  private Integer[] order = new Integer[0];

  Quantiser(Plan plan) {
    this.plan = plan;
  }

  void apply(SparseJson document) {
    if (tokens.length < document.count) {
      int size = document.tokens.length;
      tokens = new String[size];
      impacts = new int[size];
      values = new double[size];
      worths = new double[size];
    }
    count = 0;
    tally.documents++;
    for (int i = 0; i < document.count; i++) {
      weigh(document.tokens[i], document.weights[i]);
    }
    int found = count;
    prune();
    for (int i = 0; i < count; i++) {
      tally.massKept += worths[i];
    }
    quantise();
    tally.postings += count;
    if (found == 0) {
      tally.empty++;
    } else if (count == 0) {
      tally.emptied++;
    }
  }

  private void weigh(String token, double weight) {
    if (weight == 0) {
      tally.zero++;
      return;
    }
    tally.read++;
    double idf = 1;
    if (plan.idf != null) {
      Double known = plan.idf.get(token);
      if (known == null) {
        tally.unknown++;
      }
      idf = known == null ? plan.missing : known;
    }
    double worth = idf * weight;
    double value = plan.premultiply ? worth : weight;
    if (value <= 0) {
      tally.worthless++;
      return;
    }
    tally.massRead += worth;
    tokens[count] = token;
    values[count] = value;
    worths[count++] = worth;
  }

  private void prune() {
    int found = count;
    if (plan.threshold > 0) {
      int kept = 0;
      for (int i = 0; i < count; i++) {
        if (worths[i] >= plan.threshold) {
          move(i, kept++);
        }
      }
      tally.belowThreshold += count - kept;
      count = kept;
    }
    int part = plan.keep < 1 ? (int) Math.ceil(plan.keep * found) : count;
    if (plan.mass >= 1 && part >= count && plan.cap >= count) {
      return;
    }
    sort();
    if (plan.mass < 1) {
      double total = 0;
      for (int i = 0; i < count; i++) {
        total += worths[i];
      }
      double sum = 0;
      int kept = 0;
      while (kept < count && sum < plan.mass * total) {
        sum += worths[kept++];
      }
      tally.belowMass += count - kept;
      count = kept;
    }
    tally.belowKeep += Math.max(0, count - part);
    count = Math.min(count, part);
    tally.overCap += Math.max(0, count - plan.cap);
    count = Math.min(count, plan.cap);
  }

  /** Puts what is worth most first, of equals the token that comes first. */
  private void sort() {
    order = new Integer[count];
    Arrays.setAll(order, i -> i);
    Arrays.sort(
        order,
        Comparator.<Integer>comparingDouble(i -> -worths[i]).thenComparing(i -> tokens[i]));
    String[] oldTokens = Arrays.copyOf(tokens, count);
    double[] oldValues = Arrays.copyOf(values, count);
    double[] oldWorths = Arrays.copyOf(worths, count);
    for (int i = 0; i < count; i++) {
      tokens[i] = oldTokens[order[i]];
      values[i] = oldValues[order[i]];
      worths[i] = oldWorths[order[i]];
    }
  }

  private void quantise() {
    int kept = 0;
    long sum = 0;
    for (int i = 0; i < count; i++) {
      double exact = values[i] * plan.scale;
      double rounded = Math.floor(exact + 0.5);
      if (rounded < 1) {
        tally.toZero++;
        continue;
      }
      if (rounded > (plan.clip > 0 ? plan.clip : MOST)) {
        if (plan.clip == 0) {
          throw new IllegalArgumentException(
              String.format(
                  "%s would get the impact %.0f; the largest whose scores float32 holds exactly is"
                      + " %d. Choose a smaller scale, or bits to clip at",
                  SparseJson.shown(tokens[i]), rounded, MOST));
        }
        tally.clipped++;
        rounded = plan.clip;
      }
      double error = Math.abs(rounded / plan.scale - values[i]);
      tally.errorSum += error;
      tally.errorMost = Math.max(tally.errorMost, error);
      tally.largest = Math.max(tally.largest, (int) rounded);
      sum += (long) rounded;
      move(i, kept);
      impacts[kept++] = (int) rounded;
    }
    count = kept;
    if (sum > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          String.format(
              "the impacts of the document sum up to %d; Lucene allows %d. Choose a smaller scale",
              sum, Integer.MAX_VALUE));
    }
  }

  private void move(int from, int to) {
    tokens[to] = tokens[from];
    values[to] = values[from];
    worths[to] = worths[from];
  }
}
