package io.pyseriniext;

import java.io.IOException;
import org.apache.lucene.index.FloatVectorValues;
import org.apache.lucene.index.KnnVectorValues;
import org.apache.lucene.index.LeafReader;

/** The vectors of a segment, read in the order of documents. Lucene 10. */
final class LeafVectors {
  private final FloatVectorValues values;
  private final KnnVectorValues.DocIndexIterator documents;

  LeafVectors(LeafReader reader, String field) throws IOException {
    values = reader.getFloatVectorValues(field);
    documents = values == null ? null : values.iterator();
  }

  /** Returns the vector of a document not before the last one, or null; valid until the next. */
  float[] read(int doc) throws IOException {
    if (values == null) {
      return null;
    }
    if (documents.docID() < doc) {
      documents.advance(doc);
    }
    return documents.docID() == doc ? values.vectorValue(documents.index()) : null;
  }
}
