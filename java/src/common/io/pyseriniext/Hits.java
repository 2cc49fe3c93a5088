package io.pyseriniext;

import org.apache.lucene.util.BytesRef;

/** The documents retrieved for one query, best first. */
final class Hits {
  static final Hits NONE = new Hits(new BytesRef[0], new int[0], new float[0]);

  final BytesRef[] docids;

  /** Lucene's numbers. */
  final int[] docs;

  final float[] scores;

  Hits(BytesRef[] docids, int[] docs, float[] scores) {
    this.docids = docids;
    this.docs = docs;
    this.scores = scores;
  }
}
