package io.pyseriniext;

import java.util.HashMap;
import java.util.Map;

/** Reads sparse vectors through for what idf and the quantiser need: a table over the tokens. */
public final class ImpactScan extends LineJob {
  private static final class Seen {
    int documents;
    double largest;
  }

  private final String field;
  private final Map<String, Seen> all = new HashMap<>();

  public ImpactScan(byte[] files, String field, int threads) {
    super(files, threads);
    this.field = field;
  }

  /** Returns the tokens, as Python reads strings. */
  public byte[] tokens() {
    return Bytes.of(all.keySet().toArray(new String[0]));
  }

  /** Returns the number of documents that hold each token, int32, in the order of the tokens. */
  public byte[] frequencies() {
    return Bytes.of(all.values().stream().mapToInt(seen -> seen.documents).toArray());
  }

  /** Returns the largest weight of each token, float64, in the order of the tokens. */
  public byte[] largest() {
    return Bytes.of(all.values().stream().mapToDouble(seen -> seen.largest).toArray());
  }

  @Override
  Worker worker() {
    SparseJson document = new SparseJson(field);
    Map<String, Seen> own = new HashMap<>();
    return new Worker() {
      @Override
      public void accept(Lines.Batch batch, int i) {
        document.read(batch.data, batch.starts[i], batch.ends[i]);
        for (int j = 0; j < document.count; j++) {
          if (document.weights[j] > 0) {
            Seen seen = own.computeIfAbsent(document.tokens[j], token -> new Seen());
            seen.documents++;
            seen.largest = Math.max(seen.largest, document.weights[j]);
          }
        }
      }

      @Override
      public void finish() {
        synchronized (all) {
          own.forEach(
              (token, seen) -> {
                Seen total = all.computeIfAbsent(token, key -> new Seen());
                total.documents += seen.documents;
                total.largest = Math.max(total.largest, seen.largest);
              });
        }
      }
    };
  }
}
