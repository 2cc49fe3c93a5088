package io.pyseriniext;

import java.io.IOException;
import org.apache.lucene.index.FloatVectorValues;
import org.apache.lucene.index.LeafReader;

/** The vectors of a segment, read in the order of documents. Lucene 9. */
final class LeafVectors {
  private final FloatVectorValues values;

  LeafVectors(LeafReader reader, String field) throws IOException {
    values = reader.getFloatVectorValues(field);
  }

  /** Returns the vector of a document not before the last one, or null; valid until the next. */
  float[] read(int doc) throws IOException {
    if (values == null) {
      return null;
    }
    if (values.docID() < doc) {
      values.advance(doc);
    }
    return values.docID() == doc ? values.vectorValue() : null;
  }
}
