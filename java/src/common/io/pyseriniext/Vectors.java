package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.codecs.perfield.PerFieldKnnVectorsFormat;
import org.apache.lucene.index.FieldInfo;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.KnnFloatVectorQuery;

/** The vector field of an index made by Anserini, HNSW or flat, quantised or not. */
public final class Vectors implements Closeable {
  public final Documents documents;
  private final IndexSearcher searcher;
  private final FieldInfo field;

  public Vectors(String path) throws IOException {
    documents = new Documents(path);
    searcher = new IndexSearcher(documents.reader);
    FieldInfo found = null;
    for (LeafReaderContext leaf : documents.reader.leaves()) {
      FieldInfo info = leaf.reader().getFieldInfos().fieldInfo(Constants.VECTOR);
      if (info != null && info.getVectorDimension() > 0) {
        found = info;
        break;
      }
    }
    if (found == null) {
      documents.close();
      throw new IllegalArgumentException(
          path + " holds no vectors: it was not made by IndexHnswDenseVectors or "
              + "IndexFlatDenseVectors");
    }
    field = found;
  }

  public int dimension() {
    return field.getVectorDimension();
  }

  /** Returns the name of Lucene's similarity, which decides what a score means. */
  public String similarity() {
    return field.getVectorSimilarityFunction().name();
  }

  /** Returns the name of the format, such as {@code Lucene99HnswVectorsFormat}. */
  public String format() {
    return field.getAttribute(PerFieldKnnVectorsFormat.PER_FIELD_FORMAT_KEY);
  }

  /**
   * Searches for each query vector.
   *
   * @param queries float32, one vector after the other
   * @param candidates the beam width (efSearch): what the vector query returns before it is cut
   * @return {@link Bytes#of(Hits[])} with Lucene's scores
   */
  public byte[] search(byte[] queries, int k, int candidates, int threads) throws IOException {
    float[] vectors = Bytes.floats(queries);
    int dimension = dimension();
    Hits[] batch = new Hits[vectors.length / dimension];
    Parallel.forEach(
        batch.length,
        threads,
        i -> {
          float[] vector = Arrays.copyOfRange(vectors, i * dimension, (i + 1) * dimension);
          batch[i] =
              Ranking.sorted(
                  searcher, new KnnFloatVectorQuery(Constants.VECTOR, vector, candidates), k);
        });
    return Bytes.of(batch);
  }

  /**
   * Reads vectors.
   *
   * @param numbers Lucene's numbers of documents, int32
   * @return float32, one vector after the other
   */
  public byte[] take(byte[] numbers) throws IOException {
    int[] docs = Bytes.ints(numbers);
    int dimension = dimension();
    float[] out = new float[Math.multiplyExact(docs.length, dimension)];
    List<LeafReaderContext> leaves = documents.reader.leaves();
    LeafVectors vectors = null;
    int base = 0;
    int end = -1;
    for (long packed : Documents.sorted(docs)) {
      int doc = (int) (packed >>> 32);
      if (doc >= end) {
        LeafReaderContext leaf = leaves.get(ReaderUtil.subIndex(doc, leaves));
        base = leaf.docBase;
        end = base + leaf.reader().maxDoc();
        vectors = new LeafVectors(leaf.reader(), Constants.VECTOR);
      }
      float[] vector = vectors.read(doc - base);
      if (vector == null) {
        throw new IllegalArgumentException("document " + doc + " of the index has no vector");
      }
      System.arraycopy(vector, 0, out, (int) packed * dimension, dimension);
    }
    return Bytes.of(out);
  }

  @Override
  public void close() throws IOException {
    documents.close();
  }
}
