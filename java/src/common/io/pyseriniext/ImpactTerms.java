package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.TermState;
import org.apache.lucene.index.Terms;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.Scorer;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.util.BytesRef;

/** The dictionary of an impact index: tokens that were looked up once are remembered. */
final class ImpactTerms {
  /** Where a token's postings are, in each segment. */
  static final class Entry {
    private final BytesRef token;
    final TermState[] states; // null where the segment lacks the token
    final int[] largest; // impact in the segment
    int documents;

    private Entry(BytesRef token, int leaves) {
      this.token = token;
      states = new TermState[leaves];
      largest = new int[leaves];
    }
  }

  /** Some 20 MB. */
  private static final int MOST = 100_000;

  private final IndexSearcher searcher;
  private final List<LeafReaderContext> leaves;
  private final Map<String, Entry> known = new ConcurrentHashMap<>();

  /** @param searcher whose scores are weight * impact */
  ImpactTerms(IndexSearcher searcher) {
    this.searcher = searcher;
    leaves = searcher.getIndexReader().leaves();
  }

  Entry get(String token) throws IOException {
    Entry entry = known.get(token);
    if (entry == null) {
      entry = look(token);
      if (known.size() >= MOST) {
        known.clear();
      }
      known.put(token, entry);
    }
    return entry;
  }

  /** Returns an iterator that {@link #postings} moves to a token; null for a segment of nothing. */
  TermsEnum dictionary(int leaf) throws IOException {
    Terms terms = leaves.get(leaf).reader().terms(Constants.CONTENTS);
    return terms == null ? null : terms.iterator();
  }

  static PostingsEnum postings(TermsEnum dictionary, Entry entry, int leaf) throws IOException {
    dictionary.seekExact(entry.token, entry.states[leaf]);
    return dictionary.postings(null, PostingsEnum.FREQS);
  }

  private Entry look(String token) throws IOException {
    Entry entry = new Entry(new BytesRef(token), leaves.size());
    for (int leaf = 0; leaf < entry.states.length; leaf++) {
      TermsEnum dictionary = dictionary(leaf);
      if (dictionary != null && dictionary.seekExact(entry.token)) {
        entry.states[leaf] = dictionary.termState();
        entry.documents += dictionary.docFreq();
        entry.largest[leaf] = largest(dictionary, leaves.get(leaf));
      }
    }
    return entry;
  }

  /**
   * Returns the largest impact of a token in a segment, from what Lucene keeps for skipping; where
   * that says nothing (the last block of a list) from the postings.
   */
  private int largest(TermsEnum token, LeafReaderContext leaf) throws IOException {
    Term term = new Term(Constants.CONTENTS, BytesRef.deepCopyOf(token.term()));
    Scorer skips = searcher.createWeight(new TermQuery(term), ScoreMode.TOP_SCORES, 1).scorer(leaf);
    PostingsEnum postings = null;
    int documents = leaf.reader().maxDoc();
    float largest = 0;
    for (int from = 0, last; from < documents; from = last + 1) {
      int block = Math.min(skips.advanceShallow(from), documents - 1);
      last = documents - 1;
      float here = skips.getMaxScore(last);
      while (here >= Integer.MAX_VALUE && last > block) {
        last = Math.max(block, from + (last - from) / 2);
        here = skips.getMaxScore(last);
      }
      if (here >= Integer.MAX_VALUE) {
        here = 0;
        postings = postings == null ? token.postings(null, PostingsEnum.FREQS) : postings;
        int doc = postings.docID() < from ? postings.advance(from) : postings.docID();
        for (; doc <= last; doc = postings.nextDoc()) {
          here = Math.max(here, postings.freq());
        }
      }
      largest = Math.max(largest, here);
    }
    return (int) largest;
  }
}
