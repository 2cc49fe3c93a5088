package io.anserini.index.generator;

import io.anserini.collection.SparseVectorCollection;
import io.anserini.index.Constants;
import io.anserini.index.IndexCollection;
import io.pyseriniext.SparseVectors;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.util.BytesRef;

/** Lucene documents of a {@code SparseVectorCollection}, shaped as Anserini's are. */
public class SparseVectorDocumentGenerator
    implements LuceneDocumentGenerator<SparseVectorCollection.Document> {
  private final IndexCollection.Args args;

  public SparseVectorDocumentGenerator(IndexCollection.Args args) {
    this.args = args;
  }

  @Override
  public Document createDocument(SparseVectorCollection.Document source)
      throws GeneratorException {
    SparseVectors.Vector vector = source.vector;
    if (vector.isEmpty()) {
      throw new EmptyDocumentException(); // left out and counted, as Anserini does
    }
    Document document = new Document();
    document.add(new StringField(Constants.ID, vector.docid, Field.Store.YES));
    document.add(new BinaryDocValuesField(Constants.ID, new BytesRef(vector.docid)));
    if (args.storeRaw) {
      document.add(new StoredField(Constants.RAW, source.raw()));
    }
    document.add(vector.field(Constants.CONTENTS, args.storeDocvectors));
    return document;
  }
}
