import io.anserini.index.Constants;
import io.anserini.search.similarity.ImpactSimilarity;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.store.FSDirectory;

/**
 * The least that a search can cost: Lucene's best k documents by score, and their docids from doc
 * values. Nothing crosses the border to Python while the clock runs, ties are left as they come, and
 * a query is made from strings before.
 */
public final class LuceneCore implements Closeable {
  private final IndexReader reader;
  private final IndexSearcher searcher;
  private final Query[] queries;

  /**
   * @param tokens of all queries: a line for each, {@code token weight token weight …}
   */
  public LuceneCore(String index, byte[] tokens) throws IOException {
    reader = DirectoryReader.open(FSDirectory.open(Path.of(index)));
    searcher = new IndexSearcher(reader);
    searcher.setSimilarity(new ImpactSimilarity());
    String[] lines = new String(tokens, StandardCharsets.UTF_8).split("\n");
    queries = new Query[lines.length];
    Arrays.setAll(queries, i -> query(lines[i].split(" ")));
  }

  /** Returns the nanoseconds that each query takes, int64. */
  public byte[] nanoseconds(int k) throws IOException {
    byte[] message = new byte[8 * queries.length];
    ByteBuffer out = ByteBuffer.wrap(message).order(ByteOrder.LITTLE_ENDIAN);
    long read = 0;
    for (Query query : queries) {
      long start = System.nanoTime();
      read += search(query, k);
      out.putLong(System.nanoTime() - start);
    }
    if (read == 0) {
      throw new IllegalArgumentException("no query has a hit");
    }
    return message;
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }

  private static Query query(String[] tokens) {
    BooleanQuery.Builder query = new BooleanQuery.Builder();
    for (int i = 0; i < tokens.length; i += 2) {
      Query term = new TermQuery(new Term(Constants.CONTENTS, tokens[i]));
      query.add(
          new BoostQuery(term, Float.parseFloat(tokens[i + 1])), BooleanClause.Occur.SHOULD);
    }
    return query.build();
  }

  private long search(Query query, int k) throws IOException {
    ScoreDoc[] best = searcher.search(query, k).scoreDocs;
    Arrays.sort(best, (a, b) -> Integer.compare(a.doc, b.doc)); // doc values are read forwards
    List<LeafReaderContext> leaves = reader.leaves();
    BinaryDocValues values = null;
    int base = 0;
    int end = -1;
    long read = 0;
    for (ScoreDoc hit : best) {
      if (hit.doc >= end) {
        LeafReaderContext leaf = leaves.get(ReaderUtil.subIndex(hit.doc, leaves));
        base = leaf.docBase;
        end = base + leaf.reader().maxDoc();
        values = leaf.reader().getBinaryDocValues(Constants.ID);
      }
      values.advanceExact(hit.doc - base);
      read += values.binaryValue().length;
    }
    return read;
  }
}
