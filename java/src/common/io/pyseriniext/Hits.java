package io.pyseriniext;

import org.apache.lucene.util.BytesRef;

/** The documents retrieved for one query, best first. */
final class Hits {
  static final Hits NONE = new Hits(new BytesRef[0], new float[0]);

  final BytesRef[] docids;
  final float[] scores;

  Hits(BytesRef[] docids, float[] scores) {
    this.docids = docids;
    this.scores = scores;
  }
}
